"""The error for bad input, and one-line reasons of other errors."""

from __future__ import annotations

import re

# Terminal control sequences (ECMA-48), such as the colours in some libraries' messages.
ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")
# Characters of a library's message, and of one of this project, which may list several things.
LONGEST, LONGEST_OWN = 600, 4000
# Remedies for a file that a step made, and for one that the user supplied.
AGAIN, COPY = "delete it and run again", "get a complete copy of it"


class InputError(Exception):
    """Unusable input: configuration, data, checkpoint or records.

    The message is one line, ``problem; remedy``. The scripts print it without a traceback; the
    traceback goes to the job's log.

    Parameters
    ----------
    problem
        What is wrong and where; without a remedy, also what would be valid.
    remedy
        What to do about it, beginning with a verb.

    Examples
    --------
    >>> error = InputError("policy.json: damaged", "delete it and run again")
    >>> str(error)
    'policy.json: damaged; delete it and run again'
    >>> str(error.for_users_file())
    'policy.json: damaged; get a complete copy of it'
    """

    def __init__(self, problem: str, remedy: str | None = None) -> None:
        super().__init__("; ".join(part for part in (problem, remedy) if part))
        self.problem, self.remedy = problem, remedy

    def __reduce__(self) -> tuple:
        """Pickle by parts: errors are raised in worker processes too."""
        return type(self), (self.problem, self.remedy)

    def for_users_file(self) -> InputError:
        """The error, with the remedy for a file that the user supplied and no step makes."""
        return InputError(self.problem, COPY) if self.remedy == AGAIN else self


class BackendError(InputError):
    """A runtime that is not installed, cannot run a network, or computes something else."""


def reason_of(error: BaseException) -> str:
    """Root cause of an error, on one line of plain text.

    Follows ``raise ... from`` to its start, where the specific reason usually is.
    """
    seen = {id(error)}
    while error.__cause__ is not None and id(error.__cause__) not in seen:
        error = error.__cause__
        seen.add(id(error))
    text = plain(str(error))
    # str() of a KeyError, for one, is the key alone.
    named = isinstance(error, OSError | UnicodeError) or type(error).__name__ == "InputError"
    if named and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def plain(text: str, longest: int = LONGEST) -> str:
    """``text`` on one line, without escape sequences and other non-printing characters."""
    text = " ".join(ESCAPES.sub("", text).split())
    text = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    return text if len(text) <= longest else f"{text[:longest]} ..."
