"""A small encoder of short texts: 13 exits, an exit after every half layer, 2.4 million weights.

The first exit is a classifier of the kind of fastText (Joulin et al. 2017): embeddings of words and
hashed n-grams, summed, and one linear layer. Lookups are no multiplications, so it is nearly free.
The layers of a transformer encoder (Vaswani et al. 2017, normalised first as in Xiong et al. 2020)
then put each word in its context; the attention and the feed-forward part of a layer are a stage
each, and start as identities. Their words have embeddings of their own. The later heads also read
what the first one reads, but do not change it.

A feed-forward part reads a quarter of its channels from the word before and a quarter from the word
after, which gives it the order of words at no cost (after Wu et al. 2018).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from early_exit.networks import MultiExitNetwork

# Standard deviation of a new embedding, and the factor on all of them, by which embeddings learn
# faster than the layers.
DEVIATION, FACTOR = 1 / 30, 3.0


class Embeddings(nn.Module):
    """Stage 1: for each word the sum of the embeddings of the word and of its n-grams.

    One part of the channels is summed over the words, the bag; the others are the encoder's words.
    While training, words and n-grams are left out at random.
    """

    def __init__(
        self,
        sizes: tuple[int, int],
        words: int,
        bag: int,
        width: int,
        word_dropout: float,
        ngram_dropout: float,
    ) -> None:
        super().__init__()
        self.bag = bag
        vocabulary, buckets = sizes
        self.words = nn.Embedding(vocabulary, bag + width, padding_idx=0)
        self.ngrams = nn.EmbeddingBag(1 + buckets, bag + width, mode="sum", padding_idx=0)
        # The first row is that of a leading token, which any text has.
        self.positions = nn.Embedding(1 + words, width)
        for table in (self.words, self.ngrams):
            nn.init.normal_(table.weight[1:].data, std=DEVIATION)
        nn.init.zeros_(self.positions.weight)
        self.word_dropout, self.ngram_dropout = nn.Dropout(word_dropout), nn.Dropout(ngram_dropout)

    def forward(self, inputs):
        tokens, ngrams = inputs["tokens"], inputs["ngrams"]
        if self.training:
            tokens = _thinned(tokens, self.word_dropout)
            ngrams = _thinned(ngrams, self.ngram_dropout) * (tokens != 0)[:, :, None]
        found = tokens != 0
        count = found.sum(dim=1)
        total = count + (ngrams != 0).sum(dim=(1, 2))
        sums = self.words(tokens) + self._sums(ngrams)
        sums = sums * (FACTOR / total.clamp(min=1).sqrt())[:, None, None]
        words = sums[:, :, self.bag :] * count.sqrt()[:, None, None]
        words = functional.pad(words, (0, 0, 1, 0)) + self.positions.weight
        mask = functional.pad(found, (1, 0), value=True)
        bag = sums[:, :, : self.bag].sum(dim=1)
        return {"bag": bag, "words": words * mask[:, :, None], "mask": mask}

    def _sums(self, ngrams: torch.Tensor) -> torch.Tensor:
        """Sums (N, words, channels) of the embeddings of n-grams (N, words, n-grams of a word)."""
        if torch.compiler.is_exporting():
            # ONNX has no bags: they would become a loop.
            return functional.embedding(ngrams, self.ngrams.weight).sum(dim=2)
        return self.ngrams(ngrams.flatten(0, 1)).unflatten(0, ngrams.shape[:2])


def _thinned(numbers: torch.Tensor, dropout: nn.Dropout) -> torch.Tensor:
    """Numbers with a random part of them replaced by padding."""
    kept = dropout(torch.ones(numbers.shape, device=numbers.device)) != 0
    return numbers * kept


class Attention(nn.Module):
    """The first half of a layer: each word plus what it attends to."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.inputs = nn.Linear(width, 3 * width)
        self.outputs = _starts_at_zero(nn.Linear(width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, features):
        words, mask = features["words"], features["mask"]
        projected = self.inputs(self.norm(words)).unflatten(2, (3, self.heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind()
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask[:, None, None, :]
        )
        changes = self.outputs(attended.transpose(1, 2).flatten(2))
        return {**features, "words": words + self.dropout(changes)}


class FeedForward(nn.Module):
    """The second half of a layer: each word plus a hidden layer of it and its neighbours."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inputs = nn.Linear(width, hidden)
        self.outputs = _starts_at_zero(nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, features):
        words, mask = features["words"], features["mask"]
        hidden = functional.gelu(self.inputs(_shifted(self.norm(words) * mask[:, :, None])))
        return {**features, "words": words + self.dropout(self.outputs(hidden))}


def _starts_at_zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _shifted(words: torch.Tensor) -> torch.Tensor:
    """Features with one quarter of the channels from the word before, one from the word after."""
    before, after, own = words.tensor_split((words.shape[2] // 4, words.shape[2] // 2), dim=2)
    before = functional.pad(before[:, :-1], (0, 0, 1, 0))
    after = functional.pad(after[:, 1:], (0, 0, 0, 1))
    return torch.cat([before, after, own], dim=2)


class FirstHead(nn.Module):
    """Logits of the bag."""

    def __init__(self, bag: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(bag, classes)

    def forward(self, features):
        return self.fc(self.dropout(features["bag"]))


class Head(nn.Module):
    """Mean of two classifiers: of the bag, and of the words, summed over the root of their number.

    While training, a text is shown to one of the two, at random, so that each learns as if alone.
    """

    def __init__(self, bag: int, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(bag + width, classes)

    def forward(self, features):
        words, mask = features["words"], features["mask"][:, :, None]
        total = (words * mask).sum(dim=1) / mask.sum(dim=1).sqrt()
        # The bag is the first exit's: no gradient.
        bag = features["bag"].detach()
        if self.training:
            chosen = 2 * torch.randint(2, (len(bag), 1), device=bag.device)
            bag, total = bag * chosen, total * (2 - chosen)
        return self.fc(self.dropout(torch.cat([bag, total], dim=1)))


class Network(MultiExitNetwork):
    """One stage of embeddings and two for each layer, for the inputs of a data set of texts.

    Parameters
    ----------
    vocabulary, buckets, words
        Sizes of the tables and number of words, as in :mod:`early_exit.datasets.texts`.
    bag, width
        Channels of the first exit, and of the encoder's words.
    layers, attention_heads, hidden
        Of the encoder; ``hidden`` is the width within its feed-forward parts.
    word_dropout, ngram_dropout
        Shares of words and n-grams that are left out of each text in training.
    dropout, head_dropout
        Of what a stage adds, and of what a head reads.
    """

    def __init__(
        self,
        classes: int,
        vocabulary: int = 3000,
        buckets: int = 12288,
        words: int = 24,
        bag: int = 64,
        width: int = 64,
        layers: int = 6,
        attention_heads: int = 4,
        hidden: int = 128,
        word_dropout: float = 0.15,
        ngram_dropout: float = 0.5,
        dropout: float = 0.2,
        head_dropout: float = 0.3,
    ) -> None:
        super().__init__()
        sizes = (vocabulary, buckets)
        stages = [Embeddings(sizes, words, bag, width, word_dropout, ngram_dropout)]
        for _ in range(layers):
            stages.append(Attention(width, attention_heads, dropout))
            stages.append(FeedForward(width, hidden, dropout))
        later = [Head(bag, width, classes, head_dropout) for _ in stages[1:]]
        self.stages = nn.ModuleList(stages)
        self.heads = nn.ModuleList([FirstHead(bag, classes, head_dropout), *later])
