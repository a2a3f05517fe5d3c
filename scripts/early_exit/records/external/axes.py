"""Advice on arrays whose axes are in another order."""

from __future__ import annotations

from itertools import permutations

LETTERS = {3: "(N, K, C)", 2: "(N, K)"}


def advice(
    name: str, shape: tuple[int, ...], samples: int | None, largest: int | None = None
) -> str:
    """Advice on how to transpose an array (N, K) or (N, K, C), empty if its axes may be right.

    Parameters
    ----------
    samples
        N by another array, or ``None``.
    largest
        The largest label, which must be less than C, or ``None``.
    """
    if len(shape) == 2 and name == "logits":
        return f"for one exit give {name}[:, None, :]" if shape[0] == samples else ""
    if len(shape) not in LETTERS or samples is None:
        return ""
    # The smallest change first.
    orders = sorted(permutations(range(len(shape))), key=_inversions)
    for order in orders:
        fits = shape[order[0]] == samples
        if name == "logits" and largest is not None:
            fits = fits and shape[order[2]] > largest
        if fits:
            return _words(name, order) if _inversions(order) else ""
    return ""


def swapped(external: bool, samples: int, exits: int, classes: int, right: int) -> str:
    """Advice on records whose ``exits`` are not the ``right`` number; empty if no swap fits."""
    if external and samples == right:
        return "; their axes are (K, N): give uncertainty.T and correct.T, which are (N, K)"
    if not external and classes == right:
        return f"; their axes may be (N, C, K): {_words('logits', (0, 2, 1))}"
    return ""


def _words(name: str, order: tuple[int, ...]) -> str:
    text = f"{name}.T" if order == (1, 0) else f"{name}.transpose({', '.join(map(str, order))})"
    return f"give {text}, which is {LETTERS[len(order)]}"


def _inversions(order: tuple[int, ...]) -> int:
    pairs = [(a, b) for position, a in enumerate(order) for b in order[position + 1 :]]
    return sum(a > b for a, b in pairs)
