"""Names of files and classes, made safe for display."""

from __future__ import annotations

import unicodedata

# Unicode categories of control characters, undecodable bytes and line separators.
ACTING = {"Cc", "Cs", "Zl", "Zp"}
# Characters that reverse the direction of text.
TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def shown(name: str) -> str:
    """``name`` on one line, with non-printing characters escaped."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in name)


def is_plain(name: str) -> bool:
    """Whether a table, a terminal and a UTF-8 file can contain ``name`` unescaped."""
    return not any(unicodedata.category(one) in ACTING or one in TURNING for one in name)
