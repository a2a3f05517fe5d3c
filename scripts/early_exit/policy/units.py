"""Costs in words, with SI prefixes for MACs."""

from __future__ import annotations

# Names and prefixes of orders of magnitude.
NAMES = {1e12: "trillion", 1e9: "billion", 1e6: "million", 1e3: "thousand", 1.0: ""}
LETTERS = {1e12: "T ", 1e9: "G ", 1e6: "M ", 1e3: "k ", 1.0: ""}
# Unit of costs that are not MACs, such as shares of the full network.
RELATIVE = "relative"


def size_of(macs: float) -> float:
    """Divisor for MACs of this size: 1e6 for millions, and so on; 1 for less than 1,000."""
    # 1,000.00 k after rounding is written as 1.00 M.
    return next((size for size in NAMES if abs(macs) >= 0.999995 * size), 1.0)


def cost_words(cost: float, unit: str = "macs", digits: str = ".2f") -> str:
    """A cost in words: ``38.95 M MACs``, or ``cost 0.27`` for relative costs."""
    if unit == RELATIVE:
        return f"cost {cost:{'.3g' if digits == '.2f' else digits}}"
    size = size_of(cost)
    return f"{cost / size:{digits}} {LETTERS[size]}MACs"


def of_words(part: float, whole: float, unit: str = "macs") -> str:
    """A part and a whole in words: ``5.65 of 14.80 M MACs``, or ``cost 0.27 of 1``."""
    if unit == RELATIVE:
        return f"cost {part:.3g} of {whole:.3g}"
    size = size_of(whole)
    return f"{part / size:.2f} of {whole / size:.2f} {LETTERS[size]}MACs"
