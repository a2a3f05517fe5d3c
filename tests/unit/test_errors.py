"""Reasons of library errors: the root cause, complete, on one line."""

from __future__ import annotations

import pickle

import pytest

from early_exit.errors import LONGEST, InputError, plain, reason_of


def chained() -> Exception:
    """As exporters raise it: the cause three levels down."""
    try:
        try:
            raise ValueError("output_size 4 does not divide 15")
        except ValueError as error:
            raise RuntimeError("step 2 failed") from error
    except RuntimeError as error:
        last = RuntimeError("\x1b[96mThis is step 3/3\x1b[0m")
        last.__cause__ = error
        return last


def test_the_cause_is_the_last_of_the_chain():
    assert reason_of(chained()) == "ValueError: output_size 4 does not divide 15"


def test_a_chain_that_closes_on_itself_ends():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert reason_of(one) == "ValueError: other"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\x1b[1;31mred\x1b[0m and \x1b]8;;http://x\x07a link", "red and a link"),
        ("two\nlines\tand\r more", "two lines and more"),
        ("a bell \x07 and \x9b31m and \u202e", "a bell \ufffd and \ufffd31m and \ufffd"),
        ("Zürich", "Zürich"),
    ],
)
def test_reasons_are_printable_and_on_one_line(text, said):
    assert plain(text) == said


def test_long_messages_are_complete_but_dumps_are_cut():
    message = "word " * 100
    assert reason_of(ValueError(message)) == f"ValueError: {message.strip()}"
    assert len(plain("x" * 100_000)) <= LONGEST + 4


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("a"), "KeyError: 'a'"),
        (ValueError(), "ValueError"),
        (
            FileNotFoundError(2, "No such file or directory", "x"),
            "[Errno 2] No such file or directory: 'x'",
        ),
        (InputError("config: run: unknown"), "config: run: unknown"),
    ],
)
def test_the_type_is_included_if_the_message_is_not_enough(error, said):
    assert reason_of(error) == said


def test_an_error_has_a_problem_and_a_remedy_and_survives_another_process():
    error = InputError("a.csv: damaged", "delete it and run again")
    assert str(error) == "a.csv: damaged; delete it and run again"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301, our own
    assert (again.problem, again.remedy, str(again)) == (error.problem, error.remedy, str(error))
    assert str(error.for_users_file()) == "a.csv: damaged; get a complete copy of it"
    other = InputError("a.csv: empty", "write it again")
    assert other.for_users_file() is other
