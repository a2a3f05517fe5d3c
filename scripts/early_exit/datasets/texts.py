"""Short texts as arrays of fixed length: the words in their order, and each word's n-grams.

Frequent words of the training texts have numbers of their own. N-grams need no vocabulary: each is
the row of a table that its hash selects (Joulin et al. 2017; Bojanowski et al. 2017). Both are made
by pure functions, so that texts at prediction time become what the network was trained on.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from early_exit.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Numbers 0 and 1: padding, and a word that is not in the vocabulary.
PADDING, UNKNOWN = "[PAD]", "[UNK]"
# Words in the vocabulary at most, those that occur twice; and rows that n-grams are hashed to.
VOCABULARY, OCCURRENCES, BUCKETS = 3000, 2, 12288
# Words of a text, and n-grams of a word: 99.9 % of the training queries of CLINC150 have no more
# words, 98 % of their words no more n-grams.
WORDS, NGRAMS = 24, 32
# Lengths of n-grams of characters, within a word between its boundaries.
LENGTHS = (2, 3, 4)
START, END = "<", ">"


def learnt(texts: Sequence[str]) -> Tokenizer:
    """A tokenizer of the frequent words of ``texts``: the same for the same texts, byte for byte.

    It lowers the case, removes accents, and splits words from punctuation.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace("\u2019", "'"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(
        vocab_size=VOCABULARY,
        min_frequency=OCCURRENCES,
        special_tokens=[PADDING, UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def opened(content: str) -> Tokenizer:
    """The tokenizer whose ``to_str()`` is ``content``.

    Raises
    ------
    InputError
        If it is none.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(content)
    # The package has no error of its own.
    except Exception as error:
        raise InputError(
            f"the tokenizer cannot be read ({error})", "make the data set's artifacts again"
        ) from error


def arrays(texts: Sequence[str], tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    """The inputs of a network for N texts, int32, 0 where a text or word has ended.

    Returns
    -------
    dict
        ``tokens``
            Shape (N, :data:`WORDS`): numbers of the words; the rest of a longer text is cut off.
        ``ngrams``
            Shape (N, :data:`WORDS`, :data:`NGRAMS`): rows of each word's n-grams, from 1 to
            :data:`BUCKETS`: the word, the pair with the word before, then its characters.

    Raises
    ------
    InputError
        If a text is no string, or has no word.
    """
    tokens = np.zeros((len(texts), WORDS), np.int32)
    ngrams = np.zeros((len(texts), WORDS, NGRAMS), np.int32)
    unknown = tokenizer.token_to_id(UNKNOWN)
    for row, text in enumerate(texts):
        before = START
        for number, word in enumerate(_words(text, tokenizer, row)[:WORDS]):
            found = tokenizer.token_to_id(word)
            rows = (bucket(f"{before} {word}"), *_rows(word))[:NGRAMS]
            tokens[row, number] = unknown if found is None else found
            ngrams[row, number, : len(rows)] = rows
            before = word
    return {"tokens": tokens, "ngrams": ngrams}


def bucket(ngram: str) -> int:
    """The row of an n-gram, from 1: the same in every process and on every machine."""
    return 1 + zlib.crc32(ngram.encode()) % BUCKETS


def _words(text: Any, tokenizer: Tokenizer, row: int) -> list[str]:
    """Words and runs of punctuation, normalised."""
    if not isinstance(text, str):
        raise InputError(f"text {row + 1}: a {type(text).__name__}", "give texts as strings")
    plain = tokenizer.normalizer.normalize_str(text)
    words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain)]
    if not words:
        raise InputError(f"text {row + 1}: {text!r} has no word", "leave it out")
    return words


@lru_cache(maxsize=1 << 16)
def _rows(word: str) -> tuple[int, ...]:
    """Rows of a word and its n-grams of characters. No space is in a word, so pairs differ."""
    whole = f"{START}{word}{END}"
    characters = (
        bucket(whole[start : start + length])
        for length in LENGTHS
        for start in range(len(whole) - length + 1)
    )
    return (bucket(f"{word} "), *characters)
