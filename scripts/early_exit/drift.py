"""Has what a policy sees moved away from what it was chosen by?

New records are compared with those of the calibration split, in what the policy does: at which
exits samples leave, and how unsure each exit is of those that reach it. Where labels are known: how
often the policy is right, and whether what its certificate promises still holds. Each is a test
with a p-value; Holm's correction (1979, A simple sequentially rejective multiple test procedure)
keeps the probability of any false alarm at ``alpha``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2, hypergeom, ks_2samp

from early_exit.errors import InputError
from early_exit.origin import check_same_origin
from early_exit.policy import Policy
from early_exit.records import UNKNOWN, Records
from early_exit.risk import broken_drop_p_value, broken_error_p_value

ALPHA = 0.01
# Expected in a cell at least, for the chi-square distribution to be near enough.
EXPECTED = 5
RESAMPLES = 9999
COLUMNS = ("test", "exit", "samples", "before", "after", "statistic", "p_value")


@dataclass(frozen=True)
class Seen:
    """What a policy makes of N samples.

    Attributes
    ----------
    taken
        Shape (N,), the exit taken, from 0.
    uncertainty
        Shape (N, K).
    right, whole_right
        Shape (M,), of the M samples whose label is known, whether the policy is right, and whether
        the last exit is.
    """

    taken: np.ndarray
    uncertainty: np.ndarray
    right: np.ndarray
    whole_right: np.ndarray

    @classmethod
    def of(cls, records: Records, policy: Policy) -> Seen:
        """What ``policy`` makes of ``records``, of which some labels may be unknown."""
        uncertainty = records.uncertainty(policy.measure, policy.temperatures)
        taken = policy.exits_taken(uncertainty)
        known = np.flatnonzero(records.label != UNKNOWN)
        correct = records.correct[known]
        right = correct[np.arange(len(known)), taken[known]]
        return cls(taken, uncertainty, right, correct[:, -1])

    def select(self, rows: np.ndarray) -> Seen:
        """Some of the samples, all labels known."""
        return Seen(
            self.taken[rows], self.uncertainty[rows], self.right[rows], self.whole_right[rows]
        )

    def reaching(self, k: int) -> np.ndarray:
        """Uncertainties at exit ``k`` (from 0) of those that reach it."""
        return self.uncertainty[self.taken >= k, k]

    def left(self, exits: int) -> np.ndarray:
        """Shape (K,), how many leave at each exit."""
        return np.bincount(self.taken, minlength=exits)


@dataclass(frozen=True)
class Drift:
    """What was found.

    Attributes
    ----------
    tests
        A row a test: ``test`` (``exit shares``, ``uncertainty``, ``accuracy`` or ``promise``),
        ``exit`` (from 1, where it is about one), ``samples`` that were new, what was ``before`` and
        ``after`` (median uncertainty, accuracy, or what is promised and what was found),
        ``statistic``, ``p_value``, ``adjusted`` by Holm's correction, and whether it ``moved``.
    shares
        A row an exit: ``exit``, the shares leaving there ``before`` and ``after``.
    alpha
        The probability of a false alarm.
    """

    tests: pd.DataFrame
    shares: pd.DataFrame
    alpha: float

    @property
    def moved(self) -> list[str]:
        """The tests that warn, in words."""
        return [
            row.test if np.isnan(row.exit) else f"{row.test} at exit {row.exit:.0f}"
            for row in self.tests[self.tests.moved].itertuples()
        ]

    @property
    def found(self) -> bool:
        """Whether any test warns."""
        return bool(self.tests.moved.any())


def compare(
    policy: Policy,
    calibration: Records,
    new: Records,
    certificate: Mapping[str, Any] | None = None,
    alpha: float = ALPHA,
) -> Drift:
    """Compare ``new`` records, whose labels may be unknown, with those of the calibration split.

    Parameters
    ----------
    certificate
        What the policy promises: ``loss`` (``drop`` or ``error``) and ``bound``.

    Raises
    ------
    InputError
        If the records are of different networks, or not of as many exits as the policy.
    """
    # Other data are the point; records from elsewhere do not say of which network they are.
    check_same_origin(
        *(
            (name, {key: value for key, value in records.identity.items() if key == "network"})
            for name, records in (("the calibration records", calibration), ("the new", new))
        )
    )
    seen = Seen.of(calibration, policy), Seen.of(new, policy)
    return compare_seen(policy, *seen, certificate, alpha)


def compare_seen(
    policy: Policy,
    before: Seen,
    after: Seen,
    certificate: Mapping[str, Any] | None = None,
    alpha: float = ALPHA,
) -> Drift:
    """As :func:`compare`, of what the policy has made of the samples."""
    rows = [*_shares(policy, before, after), *_uncertainties(policy, before, after)]
    if len(after.right):
        rows += [_accuracy(before, after), *_promise(certificate, after)]
    tests = pd.DataFrame(rows, columns=list(COLUMNS))
    tests["adjusted"] = holm(tests.p_value.to_numpy())
    tests["moved"] = tests.adjusted <= alpha
    left = [seen.left(policy.exits) / len(seen.taken) for seen in (before, after)]
    exits = range(1, policy.exits + 1)
    shares = pd.DataFrame({"exit": exits, "before": left[0], "after": left[1]})
    return Drift(tests, shares, alpha)


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values (T,), adjusted so that any of them is at most alpha with that probability only."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0)
    return adjusted


def homogeneity(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Pearson's chi-square of two rows of counts (K,), and its p-value.

    Where a cell is expected to hold fewer than five, the p-value is that of a permutation test: the
    margins stay, and the statistic is compared with that of 9,999 tables drawn at random.
    """
    held = (before + after) > 0
    table = np.stack([before[held], after[held]])
    if table.shape[1] < 2:
        return 0.0, 1.0
    columns, size = table.sum(axis=0), table.sum()
    expected = table.sum(axis=1, keepdims=True) * columns / size
    statistic = _chi_square(table[1], expected)
    if expected.min() >= EXPECTED:
        return float(statistic), float(chi2.sf(statistic, table.shape[1] - 1))
    drawn = np.random.default_rng(0).multivariate_hypergeometric(
        columns, table[1].sum(), size=RESAMPLES
    )
    # Rounding must not make an equal table look less unusual.
    as_unusual = (_chi_square(drawn, expected) >= statistic * (1 - 1e-9)).sum()
    return float(statistic), float((1 + as_unusual) / (1 + RESAMPLES))


def _chi_square(after: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Of tables whose second row is ``after`` (..., K), the first being what is left."""
    # Both rows are off by as much.
    return ((after - expected[1]) ** 2 * (1 / expected[0] + 1 / expected[1])).sum(axis=-1)


def _shares(policy: Policy, before: Seen, after: Seen) -> Iterator[tuple[Any, ...]]:
    statistic, p_value = homogeneity(before.left(policy.exits), after.left(policy.exits))
    nothing = float("nan")
    yield "exit shares", nothing, len(after.taken), nothing, nothing, statistic, p_value


def _uncertainties(policy: Policy, before: Seen, after: Seen) -> Iterator[tuple[Any, ...]]:
    """Two-sample Kolmogorov-Smirnov tests, at each exit whose head runs and that some reach."""
    for k in np.flatnonzero(policy.heads_run):
        old, new = before.reaching(k), after.reaching(k)
        if min(len(old), len(new)) == 0:
            continue
        found = ks_2samp(old, new, method="exact" if len(old) * len(new) < 1e6 else "asymp")
        medians = float(np.median(old)), float(np.median(new))
        yield "uncertainty", float(k + 1), len(new), *medians, found.statistic, found.pvalue


def _accuracy(before: Seen, after: Seen) -> tuple[Any, ...]:
    """Fisher's exact test of "no less accurate than on calibration"."""
    old, new = before.right, after.right
    both = len(old) + len(new)
    p_value = hypergeom.cdf(new.sum(), both, old.sum() + new.sum(), len(new))
    shares = float(old.mean()), float(new.mean())
    return "accuracy", float("nan"), len(new), *shares, shares[1] - shares[0], float(p_value)


def _promise(certificate: Mapping[str, Any] | None, after: Seen) -> Iterator[tuple[Any, ...]]:
    """An exact test of "the mean loss is at most what was promised"."""
    if not certificate:
        return
    samples, bound = len(after.right), float(certificate["bound"])
    worse = int((after.whole_right & ~after.right).sum())
    better = int((after.right & ~after.whole_right).sum())
    wrong = int((~after.right).sum())
    if certificate["loss"] == "drop":
        loss, p_value = worse - better, broken_drop_p_value(worse, better, samples, bound)
    elif certificate["loss"] == "error":
        loss, p_value = wrong, broken_error_p_value(wrong, samples, bound)
    else:
        raise InputError(f"policy: a certificate for a {certificate['loss']}, not drop or error")
    yield "promise", float("nan"), samples, bound, loss / samples, loss / samples - bound, p_value
