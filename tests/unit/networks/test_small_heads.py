"""Heads by name: what they average, with and without a mask."""

import pytest
import torch
from torch import nn

from early_exit.errors import InputError
from early_exit.networks.backbone import with_exits
from early_exit.networks.small_heads import KINDS, MaskedMean, head_of_kind, kind_of, small_head


def summing(head):
    """A head with a linear layer that adds up what it is given."""
    linear = head[-1]
    linear.weight.data.fill_(1)
    linear.bias.data.zero_()
    return head


@pytest.mark.parametrize(
    ("kind", "shape", "expected"),
    [
        ("pooled", (1, 2, 2, 3), 2.5 + 8.5),
        ("pooled", (1, 2, 1, 2, 3), 2.5 + 8.5),
        ("tokens", (1, 6, 2), 5.0 + 6.0),
        ("channels_last", (1, 2, 3, 2), 5.0 + 6.0),
        ("sequence", (1, 2, 6), 2.5 + 8.5),
        ("flat", (1, 12), 66.0),
        ("flat", (1, 2, 6), 66.0),
    ],
)
def test_means_by_hand(kind, shape, expected):
    features = torch.arange(12.0).reshape(shape)
    head = summing(head_of_kind(kind, features.shape, 3))
    assert head(features).tolist() == [[expected] * 3]


@pytest.mark.parametrize(
    ("shape", "axis", "kind"),
    [
        ((1, 8, 4, 4), None, "pooled"),
        ((1, 8, 4, 4), -1, "channels_last"),
        ((1, 9, 8), None, "tokens"),
        ((1, 8, 9), 1, "sequence"),
        ((1, 8), None, "flat"),
    ],
)
def test_the_kind_follows_from_the_shape(shape, axis, kind):
    assert kind_of(torch.Size(shape), axis) == kind
    same = head_of_kind(kind, torch.Size(shape), 2)
    assert str(small_head(torch.Size(shape), 2, axis)) == str(same)


TOKENS = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]]]).repeat(3, 1, 1)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
@pytest.mark.parametrize("axis", [-1, 1])
def test_the_mean_is_over_what_the_mask_counts(dtype, axis):
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 0, 0]]).to(dtype)
    features = TOKENS.clone()
    # What is padding may be anything.
    features[1, 2] = torch.nan
    features[2] = torch.inf
    features = features if axis == -1 else features.transpose(1, 2)
    found = MaskedMean("attention_mask", axis)({"features": features, "attention_mask": mask})
    assert found.tolist() == [[3.0, 30.0], [1.5, 15.0], [0.0, 0.0]]


def test_a_finer_mask_counts_by_its_middles():
    """Of ten positions, three parts: 0 to 2, 3 to 5 and 6 to 9; the middles are 1, 4 and 7."""
    mean = MaskedMean("mask")
    for place, expected in ((1, 1.0), (4, 2.0), (7, 6.0), (0, 0.0)):
        mask = torch.zeros(1, 10)
        mask[0, place] = 1
        assert mean({"features": TOKENS[:1], "mask": mask})[0, 0] == expected


def test_a_mask_that_is_shorter_than_the_features_is_an_error():
    with pytest.raises(
        InputError, match=r"mask has shape \[2\], but the features have 3 positions"
    ):
        head_of_kind("tokens", torch.Size([1, 3, 8]), 2, ("mask", torch.Size([1, 2])))


def test_a_head_that_is_none_is_an_error():
    with pytest.raises(InputError, match="head: 'mean' is none; name one of pooled, tokens"):
        head_of_kind("mean", torch.Size([1, 8]), 2)
    with pytest.raises(InputError, match=r"after 0: head: pooled cannot .* \[8\]; .*can: flat$"):
        with_exits(
            nn.Sequential(*(nn.Linear(8, 8) for _ in range(3))), ["0", "1"], 8, [8], "pooled"
        )


class Text(nn.Module):
    """Embeds tokens; the mask is used by heads alone, or by the backbone's own, too."""

    def __init__(self, uses=True):
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.fc = nn.Linear(4, 3)
        self.uses = uses

    def forward(self, tokens, mask):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x).relu()
        weights = mask.unsqueeze(2) if self.uses else torch.ones_like(x)
        return self.fc((x * weights).sum(1) / weights.sum(1))


@pytest.mark.parametrize("uses", [True, False])
@pytest.mark.parametrize("head", [small_head, "tokens"])
def test_a_mask_among_the_inputs_goes_to_the_heads(uses, head):
    torch.manual_seed(0)
    backbone = Text(uses).eval()
    inputs = {
        "tokens": torch.randint(0, 10, (4, 5)),
        "mask": (torch.arange(5) < torch.tensor([5, 3, 1, 2])[:, None]).float(),
    }
    network = with_exits(backbone, "blocks.*", 3, inputs=inputs, head=head).eval()
    with torch.no_grad():
        logits = network(inputs)
        assert torch.equal(logits[:, -1], backbone(**inputs))
        # Neither depends on tokens that are masked.
        other = inputs | {"tokens": torch.where(inputs["mask"] > 0, inputs["tokens"], 7)}
        again = network(other)
    assert torch.equal(logits[:, 0], again[:, 0])
    assert torch.equal(logits[:, 1], again[:, 1]) is uses
    assert not torch.equal(inputs["tokens"], other["tokens"])


def test_a_functions_head_takes_the_features_alone():
    shapes = []

    def head(features, classes):
        shapes.append(features)
        return nn.Sequential(nn.Flatten(), nn.Linear(features.numel(), classes))

    inputs = {"tokens": torch.randint(0, 10, (4, 5)), "mask": torch.ones(4, 5)}
    network = with_exits(Text(), "blocks.*", 3, inputs=inputs, head=head)
    assert shapes == [torch.Size([1, 5, 4])]
    assert network(inputs).shape == (4, 2, 3)


def test_every_kind_is_described():
    assert all(f"``{kind}``" in with_exits.__doc__ for kind in KINDS)
