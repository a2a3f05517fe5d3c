"""Checks that a schema cannot express: value types, sizes, nesting and control characters."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

from early_exit.config.validation import LONG, short
from early_exit.errors import InputError

# Characters of a key; items of a list, unless they are strings such as class names; nesting depth;
# values in all. More would hang the validator.
LONGEST_KEY, LONGEST_LIST, DEEPEST, MOST = 100, 1000, 30, 100_000
LARGEST_NUMBER = 2**63 - 1


def check_values(config: Any) -> None:
    """Check value types, sizes, nesting and control characters.

    Raises
    ------
    InputError
        With the path of the first value that is not allowed.
    """
    counted = 0

    def check(value: Any, where: str, depth: int) -> None:
        nonlocal counted
        counted += 1
        if depth > DEEPEST or counted > MOST:
            what = (
                f"{DEEPEST} levels of nested maps and lists"
                if depth > DEEPEST
                else f"{MOST:,} values"
            )
            raise InputError(f"config: {cut(where)}: more than {what}, or it contains itself")
        if not isinstance(value, dict | list):
            _check_value(value, where)
        elif isinstance(value, list):
            if len(value) > LONGEST_LIST and not all(isinstance(one, str) for one in value):
                what = f"a list of {len(value):,}, but must be a list of at most {LONGEST_LIST:,}"
                raise InputError(f"config: {cut(where)}: {what}")
            for number, own in enumerate(value):
                check(own, f"{where}.{number}", depth + 1)
        else:
            for key, own in value.items():
                _check_key(key, where)
                check(own, f"{where}.{key}".strip("."), depth + 1)

    check(config, "", 0)


def _check_key(key: Any, where: str) -> None:
    start = f"config: {cut(where)}: the key {short(key)}"
    if not isinstance(key, str):
        raise InputError(f"{start} must be a string: put it in quotes")
    if len(key) > LONGEST_KEY:
        raise InputError(f"{start} has more than {LONGEST_KEY} characters")
    if strange := _strange(key):
        raise InputError(f"{start} has {strange}", "remove it")


def _check_value(value: Any, where: str) -> None:
    start = f"config: {cut(where)}: "
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{start}{value}, but must be a finite number")
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        raise InputError(f"{start}a number with more than {len(str(LARGEST_NUMBER)) - 1} digits")
    if not isinstance(value, bool | int | float | str | None):
        kind = type(value).__name__
        raise InputError(f"{start}YAML reads this as a {kind}: if it is a string, put it in quotes")
    # Descriptions may have several lines.
    allowed = "\n\t" if where.endswith("description") else ""
    if isinstance(value, str) and (strange := _strange(value, allowed)):
        raise InputError(f"{start}{short(value)} has {strange}", "remove it")


def _strange(text: str, allowed: str = "") -> str:
    """The first control character or line break of a string, in words, or an empty string."""
    for one in text:
        category = unicodedata.category(one)
        if category in ("Cc", "Cs", "Zl", "Zp") and one not in allowed:
            return "a line break" if one in "\r\n" else f"the character U+{ord(one):04X}"
    return ""


def cut(where: str) -> str:
    """A path of keys, cut to ``LONG`` characters."""
    where = where or "config.yaml"
    return where if len(where) <= LONG else f"{where[:LONG]}..."
