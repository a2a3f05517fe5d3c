"""Multi-exit networks whose inputs or features are no single tensor, as others have them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

CLASSES = 5


def convolution(channels: int, width: int, stride: int = 1) -> nn.Module:
    """A convolution with batch norm and ReLU."""
    own = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
    return nn.Sequential(own, nn.BatchNorm2d(width), nn.ReLU())


class Scales(nn.Module):
    """The first stage of a multi-scale dense network (Huang et al. 2018): a list of scales."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.fine = convolution(channels, width)
        self.coarse = convolution(width, width, stride=2)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        fine = self.fine(images)
        return [fine, self.coarse(fine)]


class Dense(nn.Module):
    """A layer of such a network: each scale sees itself and the finer one."""

    def __init__(self, had: int, growth: int) -> None:
        super().__init__()
        self.fine = convolution(had, growth)
        self.down = convolution(had, growth, stride=2)
        self.coarse = convolution(had, growth)

    def forward(self, scales: list[torch.Tensor]) -> list[torch.Tensor]:
        fine, coarse = scales
        return [
            torch.cat([fine, self.fine(fine)], dim=1),
            torch.cat([coarse, self.coarse(coarse) + self.down(fine)], dim=1),
        ]


class Coarsest(nn.Module):
    """Classifies the last of the scales."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def forward(self, scales: list[torch.Tensor]) -> torch.Tensor:
        return self.linear(scales[-1].mean(dim=(2, 3)))


class MultiScale(nn.Module):
    """A multi-scale dense network of three exits, for images."""

    def __init__(self, classes: int, shape: list[int], width: int = 6, growth: int = 4) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [Scales(shape[0], width), Dense(width, growth), Dense(width + growth, growth)]
        )
        self.heads = nn.ModuleList([Coarsest(width + k * growth, classes) for k in range(3)])


@dataclass
class Tokens:
    """Hidden states (N, T, width), which of them are no padding, and a table for all samples."""

    hidden: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor


class Embedding(nn.Module):
    """Words and positions."""

    def __init__(self, words: int, length: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.register_buffer("positions", torch.linspace(-1, 1, length * width).view(length, width))

    def forward(self, inputs: dict[str, torch.Tensor]) -> Tokens:
        return Tokens(self.words(inputs["tokens"]), inputs["mask"], self.positions)


class Attention(nn.Module):
    """Self-attention over words that are no padding; positions are added to what it looks at."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.looks = nn.Linear(width, 3 * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tokens) -> Tokens:
        looked = self.looks(tokens.hidden + tokens.positions)[:, None].chunk(3, dim=-1)
        mask = tokens.mask[:, None, None, :]
        seen = functional.scaled_dot_product_attention(*looked, attn_mask=mask)[:, 0]
        return Tokens(self.norm(tokens.hidden + seen), tokens.mask, tokens.positions)


class MaskedMean(nn.Module):
    """Classifies the mean of the words that are no padding."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def forward(self, tokens: Tokens) -> torch.Tensor:
        mask = tokens.mask[:, :, None].to(tokens.hidden.dtype)
        return self.linear((tokens.hidden * mask).sum(dim=1) / mask.sum(dim=1))


class Transformer(nn.Module):
    """A masked transformer of three exits, for {"tokens": (N, T), "mask": (N, T)}."""

    def __init__(self, classes: int, shape: dict[str, list[int]], words: int = 50) -> None:
        super().__init__()
        width, (length,) = 8, shape["tokens"]
        self.stages = nn.ModuleList(
            [Embedding(words, length, width), Attention(width), Attention(width)]
        )
        self.heads = nn.ModuleList([MaskedMean(width, classes) for _ in range(3)])


class Windows(nn.Module):
    """A 1-D convolutional network of three exits, for windows of floats (N, channels, T)."""

    def __init__(self, classes: int, shape: list[int]) -> None:
        super().__init__()
        widths = [shape[0], 8, 12, 16]
        self.stages = nn.ModuleList(
            [
                nn.Sequential(nn.Conv1d(a, b, 5, stride=2, padding=2), nn.ReLU())
                for a, b in pairwise(widths)
            ]
        )
        self.heads = nn.ModuleList(
            [
                nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, classes))
                for width in widths[1:]
            ]
        )


class Rows(nn.Module):
    """A multilayer perceptron of three exits, for rows of a table (N, F)."""

    def __init__(self, classes: int, shape: list[int]) -> None:
        super().__init__()
        widths = [shape[0], 16, 16, 16]
        self.stages = nn.ModuleList(
            [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
        )
        self.heads = nn.ModuleList([nn.Linear(width, classes) for width in widths[1:]])


class Binary(Rows):
    """The perceptron with a single logit at each exit: whether the class is 1."""

    def __init__(self, classes: int, shape: list[int]) -> None:
        super().__init__(classes, shape)
        self.heads = nn.ModuleList([nn.Linear(16, 1) for _ in range(3)])


class Joined(nn.Module):
    """A head of a cascade: features and the logits of the exits before (Wolczyk et al. 2021)."""

    def __init__(self, width: int, before: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width + before * classes, classes)

    def forward(self, features: torch.Tensor, earlier: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return self.linear(torch.cat([features, *earlier], dim=1))


class Cascade(Rows):
    """The perceptron with heads that take earlier logits."""

    def __init__(self, classes: int, shape: list[int]) -> None:
        super().__init__(classes, shape)
        self.heads = nn.ModuleList([Joined(16, k, classes) for k in range(3)])


class Sure(nn.Module):
    """A head that also says how sure it is."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.linear, self.confidence = nn.Linear(width, classes), nn.Linear(width, 1)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.linear(features), self.confidence(features).flatten()


class Confident(Rows):
    """The perceptron with heads that learn a confidence."""

    def __init__(self, classes: int, shape: list[int]) -> None:
        super().__init__(classes, shape)
        self.heads = nn.ModuleList([Sure(16, classes) for _ in range(3)])


class Partly(Rows):
    """The perceptron with a confidence of two of its heads, one of them a column (N, 1).

    The second takes earlier logits, the others do not.
    """

    def __init__(self, classes: int, shape: list[int]) -> None:
        super().__init__(classes, shape)
        self.heads = nn.ModuleList(
            [Sure(16, classes), SureAgain(16, 1, classes), nn.Linear(16, classes)]
        )


class SureAgain(Joined):
    """A head of a cascade that returns a confidence as a column."""

    def __init__(self, width: int, before: int, classes: int) -> None:
        super().__init__(width, before, classes)
        self.confidence = nn.Linear(width, 1)

    def forward(
        self, features: torch.Tensor, earlier: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward(features, earlier), self.confidence(features)


class Pair(NamedTuple):
    """Features, and the row they were made of."""

    features: torch.Tensor
    row: torch.Tensor


class First(nn.Module):
    """Makes a pair of a row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 16)

    def forward(self, row: torch.Tensor) -> Pair:
        return Pair(functional.relu(self.linear(row)), row)


class Again(nn.Module):
    """Looks at the row again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(16 + width, 16)

    def forward(self, pair: Pair) -> Pair:
        return Pair(functional.relu(self.linear(torch.cat(pair, dim=1))), pair.row)


class OfPair(nn.Module):
    """Classifies the features of a pair."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(16, classes)

    def forward(self, pair: Pair) -> torch.Tensor:
        return self.linear(pair.features)


class Pairs(nn.Module):
    """A perceptron whose stages hand on named tuples."""

    def __init__(self, classes: int, shape: list[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList([First(shape[0]), Again(shape[0]), Again(shape[0])])
        self.heads = nn.ModuleList([OfPair(classes) for _ in range(3)])


# By name: the class, and its inputs.
NETWORKS: dict[str, tuple[type[nn.Module], str]] = {
    "lists of scales": (MultiScale, "images"),
    "masked transformer": (Transformer, "tokens"),
    "windows": (Windows, "windows"),
    "rows": (Rows, "rows"),
    "cascade": (Cascade, "rows"),
    "confidence": (Confident, "rows"),
    "some of both": (Partly, "rows"),
    "named tuples": (Pairs, "rows"),
    "one logit": (Binary, "rows of two classes"),
}


def classes_of(kind: str) -> int:
    """Number of classes of the samples of a kind."""
    return 2 if kind == "rows of two classes" else CLASSES


def samples_of(kind: str, count: int, seed: int = 0) -> tuple[Any, torch.Tensor]:
    """Inputs of a kind whose class can be learned, and labels (N,)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes_of(kind), (count,), generator=generator)
    kind = kind.partition(" ")[0]
    noise = torch.rand(count, generator=generator)
    if kind == "tokens":
        lengths = torch.randint(2, 9, (count, 1), generator=generator)
        tokens = torch.randint(10, 50, (count, 8), generator=generator)
        tokens[:, 0] = torch.where(noise < 0.9, labels, tokens[:, 0] % CLASSES)
        mask = torch.arange(8) < lengths
        return {"tokens": tokens * mask, "mask": mask}, labels
    shape = {"rows": (7,), "windows": (3, 32), "images": (3, 8, 8)}[kind]
    centres = torch.randn(CLASSES, *shape, generator=torch.Generator().manual_seed(1))
    drawn = torch.randn(count, *shape, generator=generator)
    values = centres[labels] + (0.5 + 2 * noise).view(-1, *[1] * len(shape)) * drawn
    if kind == "images":
        return (128 + 30 * values).clamp(0, 255).to(torch.uint8), labels
    return values, labels
