"""Tables that are used together must come of the same network, data and prices."""

from __future__ import annotations

from typing import Any

from early_exit.errors import InputError

# What two tables must share to be used together.
ORIGIN = {"network": "another network", "data": "other data", "costs": "other prices"}


def check_same_origin(
    *tables: tuple[str, dict[str, Any]], remedy: str = "delete the older and run again"
) -> None:
    """Refuse tables that were made by different networks, or from different data or prices.

    Parameters
    ----------
    tables
        Pairs of a file's name and its identity. Keys that one of them lacks are not compared.
    remedy
        What the user should do.

    Raises
    ------
    InputError
        Naming the first pair that does not belong together.
    """
    known: dict[str, tuple[str, Any]] = {}
    for name, identity in tables:
        for key in ORIGIN.keys() & identity.keys():
            first, expected = known.setdefault(key, (name, identity[key]))
            if identity[key] != expected:
                raise InputError(f"{name}: made with {ORIGIN[key]} than {first}; {remedy}")
