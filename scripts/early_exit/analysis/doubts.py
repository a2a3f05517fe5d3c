"""Checks of a result that warn of implausible times and accuracies.

Times are checked by :func:`early_exit.analysis.evaluation.doubtful_times`. Accuracies are tested
here: whether the splits differ, and whether the chosen policy misses its accuracy floor or its
certificate on the test split. Each test has the level ``ALPHA``; an experiment has up to three, so
its probability of a false alarm is at most 0.3 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scipy.stats import binomtest, fisher_exact

from early_exit.records.table import Records
from early_exit.statistics.exact_tests import broken_drop_p_value, broken_error_p_value

ALPHA = 0.001


def doubts(
    chosen: dict[str, Any], evaluation: dict[str, Any], calibration: Records, test: Records
) -> list[str]:
    """Warnings about a result, one line each.

    Parameters
    ----------
    chosen
        The content of ``policy.json``.
    evaluation
        The content of ``evaluation.json``, of the test split.
    """
    found = [evaluation.get("doubt"), differing_splits(calibration, test)]
    return [*filter(None, found), *broken(chosen, evaluation)]


def differing_splits(calibration: Records, test: Records) -> str | None:
    """Warning if the full network's accuracy differs between the splits (Fisher's exact test)."""
    correct = [int(split.correct[:, -1].sum()) for split in (calibration, test)]
    samples = [len(calibration), len(test)]
    wrong = [n - k for n, k in zip(samples, correct, strict=True)]
    p_value = fisher_exact([correct, wrong]).pvalue
    if p_value >= ALPHA:
        return None
    here, there = (k / n for k, n in zip(correct, samples, strict=True))
    return (
        f"the splits differ: the full network is {here:.2%} accurate on calibration and {there:.2%}"
        f" on test{chance(p_value)}, so what is chosen on one may not hold on the other"
    )


def broken(chosen: dict[str, Any], evaluation: dict[str, Any]) -> Iterator[str]:
    """Warnings if the policy misses its accuracy floor or its certificate on test."""
    samples, own = evaluation["samples"], evaluation["selected"]
    correct = round(own["accuracy"] * samples)
    floor = chosen.get("criterion", {}).get("accuracy_floor")
    if floor is not None:
        p_value = binomtest(correct, samples, floor, alternative="less").pvalue
        if p_value < ALPHA:
            yield (
                f"the accuracy floor is missed: it is {floor:g}, and the policy is"
                f" {own['accuracy']:.2%} accurate on test{chance(p_value)}"
            )
    certificate = chosen["certificate"]
    if certificate is None:
        return
    loss, bound = certificate["loss"], certificate["bound"]
    if loss == "error":
        p_value = broken_error_p_value(samples - correct, samples, bound)
    else:
        worse, better = (own["against_full"][key] for key in ("worse", "better"))
        p_value = broken_drop_p_value(worse, better, samples, bound)
    if p_value < ALPHA:
        yield (
            f"the certificate does not hold on test: {loss} of at most {bound:g}{chance(p_value)}"
        )


def chance(p_value: float) -> str:
    """A p-value in words."""
    return f" (p = {p_value:.1g})" if p_value > 0 else " (p = 0)"
