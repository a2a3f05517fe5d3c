"""Check that tables used together share the same network, data and costs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from early_exit.errors import InputError

# Keys that must agree, and what differs otherwise.
ORIGIN = {
    "network": "another network",
    "data": "other data",
    "engine": "another backend or precision (inference)",
    "costs": "other costs",
}
# What makes records and costs if their provenance does not name it.
REFERENCE = "torch:fp32"


def with_engine(provenance: dict[str, Any]) -> dict[str, Any]:
    """A provenance with the engine that made records or costs, or what is made of them.

    One of a network, of data or of a checksum alone is not changed: no engine made these.
    """
    made_of = "network" in provenance and bool({"split", "costs"} & provenance.keys())
    if "engine" in provenance or not made_of:
        return provenance
    return provenance | {"engine": REFERENCE}


def made_of_network(provenance: dict[str, Any]) -> dict[str, Any]:
    """The network and the engine that made records; nothing of records that name no network."""
    keys = ("network", "engine", "split") if "network" in provenance else ()
    return {key: provenance[key] for key in keys if key in provenance}


def check_same_provenance(*tables: tuple[str, dict[str, Any]], remedy: str | None = None) -> None:
    """Check that tables were made with the same network, data and costs.

    Parameters
    ----------
    tables
        Pairs of a file's name and its provenance. Keys that one of them lacks are not compared.
    remedy
        What the user should do; by default to delete the table that differs from most others, or
        the older of two.

    Raises
    ------
    InputError
        If two of them differ.
    """
    tables = tuple((name, with_engine(provenance)) for name, provenance in tables)
    for key, what in ORIGIN.items():
        found = [(name, repr(provenance[key])) for name, provenance in tables if key in provenance]
        counts = Counter(value for _, value in found).most_common(2)
        if len(counts) < 2:
            continue
        (usual, most), (_, second) = counts
        name = next(name for name, value in found if value != usual)
        other = next(name for name, value in found if value == usual)
        # The tables that agree with most others took longest to make.
        advice = "delete it" if most > second else "delete the older"
        raise InputError(
            f"{name}: made with {what} than {other}", remedy or f"{advice} and run again"
        )
