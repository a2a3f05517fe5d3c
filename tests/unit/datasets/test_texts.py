"""Texts as arrays: words in their order, hashed n-grams, and nothing that depends on a process."""

import subprocess
import sys

import numpy as np
import pytest

from early_exit.datasets import texts
from early_exit.errors import InputError

CORPUS = [
    "what's my balance",
    "what is the balance of my account",
    "transfer money to my account",
    "how do i say money in french",
]

HASHES = [4401, 10645, 11583]


@pytest.fixture(scope="module")
def tokenizer():
    return texts.learnt(CORPUS)


def rows(ngrams: list[str]) -> list[int]:
    return [texts.bucket(ngram) for ngram in ngrams]


def test_two_tokenizers_of_the_same_texts_are_equal_byte_for_byte(tokenizer):
    assert texts.learnt(CORPUS).to_str() == tokenizer.to_str()
    assert texts.learnt(CORPUS[1:]).to_str() != tokenizer.to_str()


def test_an_opened_tokenizer_gives_the_same_arrays(tokenizer):
    opened = texts.opened(tokenizer.to_str())
    before, after = texts.arrays(CORPUS, tokenizer), texts.arrays(CORPUS, opened)
    assert all((before[name] == after[name]).all() for name in before)
    with pytest.raises(InputError, match="tokenizer cannot be read"):
        texts.opened("{}")


def test_shapes_and_padding(tokenizer):
    found = texts.arrays(CORPUS[:2], tokenizer)
    assert {name: array.shape for name, array in found.items()} == {
        "tokens": (2, texts.WORDS),
        "ngrams": (2, texts.WORDS, texts.NGRAMS),
    }
    assert {array.dtype for array in found.values()} == {np.dtype(np.int32)}
    words = (found["tokens"] != 0).sum(axis=1)
    assert list(words) == [5, 7]
    for row, count in enumerate(words):
        # The words' numbers, then zeros alone; each word has the same in its n-grams.
        assert (found["tokens"][row, :count] > 0).all()
        assert not found["ngrams"][row, count:].any()
        lengths = (found["ngrams"][row, :count] != 0).sum(axis=1)
        assert all(found["ngrams"][row, word, :n].all() for word, n in enumerate(lengths))
        assert (lengths >= 3).all()


def test_tokens_keep_the_order_of_words(tokenizer):
    one, other = texts.arrays(["my account", "account my"], tokenizer)["tokens"]
    assert sorted(one) == sorted(other)
    assert list(one) != list(other)


def test_ngrams_are_a_pair_the_word_and_its_characters(tokenizer):
    first, second, *rest = texts.arrays(["My bank"], tokenizer)["ngrams"][0]
    assert list(first[first > 0]) == rows(["< my", "my ", "<m", "my", "y>", "<my", "my>", "<my>"])
    expected = ["my bank", "bank ", "<b", "ba", "an", "nk", "k>", "<ba", "ban", "ank", "nk>"]
    expected += ["<ban", "bank", "ank>"]
    assert list(second[second > 0]) == rows(expected)
    assert not np.any(rest)


def test_a_word_of_the_vocabulary_and_an_unknown_one(tokenizer):
    known, again, unknown = texts.arrays(["money", "Money", "zebra"], tokenizer)["tokens"][:, 0]
    assert known == again == tokenizer.token_to_id("money")
    assert unknown == tokenizer.token_to_id(texts.UNKNOWN) != 0


def test_words_that_occur_once_are_unknown(tokenizer):
    assert tokenizer.token_to_id("french") is None
    assert tokenizer.token_to_id("account") is not None


def test_hashes_are_fixed():
    """A network's table is in this order, so another hash makes every checkpoint useless."""
    assert rows(["my bank", "<my", "é"]) == HASHES
    code = "from early_exit.datasets import texts; print(texts.bucket('my bank'))"
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        run = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(run.stdout) == HASHES[0]


def test_case_accents_and_apostrophes_do_not_matter(tokenizer):
    plain = texts.arrays(["what's the cafe"], tokenizer)
    for spelling in ("What's THE café", "what\u2019s the cafe\u0301", " what's  the cafe\n"):
        found = texts.arrays([spelling], tokenizer)
        assert all((plain[name] == found[name]).all() for name in plain)


def test_a_long_text_or_word_is_cut_off(tokenizer):
    long = texts.arrays(["money account " * 200], tokenizer)
    short = texts.arrays(["money account " * (texts.WORDS // 2)], tokenizer)
    assert all((long[name] == short[name]).all() for name in long)
    assert (long["tokens"] > 0).all()
    assert (texts.arrays(["a" * 500], tokenizer)["ngrams"][0, 0] > 0).all()


def test_a_text_does_not_depend_on_the_others(tokenizer):
    together = texts.arrays(CORPUS, tokenizer)
    for row, text in enumerate(CORPUS):
        alone = texts.arrays([text], tokenizer)
        assert all((alone[name][0] == together[name][row]).all() for name in alone)


def test_unknown_letters_have_numbers(tokenizer):
    found = texts.arrays(["\u4f60\u597d"], tokenizer)
    assert found["tokens"][0, 0] > 0
    assert found["ngrams"][0, 0, 0] > 0


@pytest.mark.parametrize(
    ("given", "message"), [([1], "text 1: a int"), (["money", "  "], "text 2: '  ' has no word")]
)
def test_what_is_no_text_is_an_error(tokenizer, given, message):
    with pytest.raises(InputError, match=message):
        texts.arrays(given, tokenizer)
