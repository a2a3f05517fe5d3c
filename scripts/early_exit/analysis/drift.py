"""Drift: tests of whether new records differ from the calibration records under a policy.

They compare the exit shares, and at each exit the uncertainty of the samples that reach it. With
known labels they also compare the accuracy, and test the bound of the policy's certificate. Holm's
correction (1979, A simple sequentially rejective multiple test procedure) keeps the probability of
any false alarm at ``alpha``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import MonteCarloMethod, chi2_contingency, fisher_exact, ks_2samp
from scipy.stats.contingency import expected_freq

from early_exit.errors import InputError
from early_exit.io.provenance import check_same_provenance
from early_exit.policy.policy import Policy
from early_exit.records.table import UNKNOWN, Records
from early_exit.statistics.exact_tests import broken_drop_p_value, broken_error_p_value

ALPHA = 0.01
# Minimum expected count in a cell for the chi-square approximation.
EXPECTED = 5
RESAMPLES = 9999
COLUMNS = ("test", "exit", "samples", "before", "after", "statistic", "p_value")


@dataclass(frozen=True)
class Observed:
    """Exits, uncertainties and correctness of N samples under a policy.

    Attributes
    ----------
    taken
        Shape (N,), the exit taken, from 0.
    uncertainty
        Shape (N, K).
    correct, full_correct
        Shape (M,), whether the policy and the full network classify each of the M samples with
        known labels correctly.
    """

    taken: np.ndarray
    uncertainty: np.ndarray
    correct: np.ndarray
    full_correct: np.ndarray

    @classmethod
    def of(cls, records: Records, policy: Policy) -> Observed:
        """Apply ``policy`` to ``records``, whose labels may be unknown in part."""
        uncertainty = policy.criterion.uncertainty(records)
        taken = policy.exits_taken(uncertainty)
        known = np.flatnonzero(records.label != UNKNOWN)
        at_exit = policy.criterion.correct(records)[known, taken[known]]
        return cls(taken, uncertainty, at_exit, records.correct[known, -1])

    def select(self, rows: np.ndarray) -> Observed:
        """A subset of the samples; all labels must be known."""
        return Observed(
            self.taken[rows], self.uncertainty[rows], self.correct[rows], self.full_correct[rows]
        )

    def reaching(self, k: int) -> np.ndarray:
        """Uncertainties at exit ``k`` (from 0) of the samples that reach it."""
        return self.uncertainty[self.taken >= k, k]

    def exited(self, exits: int) -> np.ndarray:
        """Number of samples that exit at each exit, shape (K,)."""
        return np.bincount(self.taken, minlength=exits)


@dataclass(frozen=True)
class Drift:
    """Results of the drift tests.

    Attributes
    ----------
    tests
        A row per test: ``test`` (``exit shares``, ``uncertainty``, ``accuracy`` or ``promise``),
        ``exit`` (from 1; NaN unless the test is of one exit), the number of new ``samples``, the
        values ``before`` and ``after`` (median uncertainty, accuracy, or certified and observed
        loss), ``statistic``, ``p_value``, ``adjusted`` (by Holm's correction), and ``moved``,
        whether it warns.
    shares
        A row per exit: ``exit``, and the share of samples that exit there ``before`` and ``after``.
    alpha
        Probability of any false alarm.
    """

    tests: pd.DataFrame
    shares: pd.DataFrame
    alpha: float

    @property
    def moved(self) -> list[str]:
        """Names of the tests that warn."""
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
    """Compare new records with the calibration records; labels of both may be unknown.

    Parameters
    ----------
    certificate
        The policy's certificate: ``loss`` (``drop`` or ``error``) and ``bound``.

    Raises
    ------
    InputError
        If the records are of different networks, or policy and records differ in the number of
        exits.
    """
    # Compare networks, not data: data differ on purpose. External records name no network.
    check_same_provenance(
        *(
            (name, {key: value for key, value in records.provenance.items() if key == "network"})
            for name, records in (("the calibration records", calibration), ("the new", new))
        )
    )
    observed = Observed.of(calibration, policy), Observed.of(new, policy)
    return compare_observed(policy, *observed, certificate, alpha)


def compare_observed(
    policy: Policy,
    before: Observed,
    after: Observed,
    certificate: Mapping[str, Any] | None = None,
    alpha: float = ALPHA,
) -> Drift:
    """As :func:`compare`, of samples that the policy has been applied to."""
    rows = [*_shares(policy, before, after), *_uncertainties(policy, before, after)]
    if len(after.correct):
        # The reference of a policy that was recalibrated without labels has no accuracy.
        if len(before.correct):
            rows.append(_accuracy(before, after))
        rows += _promise(certificate, after)
    tests = pd.DataFrame(rows, columns=list(COLUMNS))
    tests["adjusted"] = holm(tests.p_value.to_numpy())
    tests["moved"] = tests.adjusted <= alpha
    exited = [one.exited(policy.exits) / len(one.taken) for one in (before, after)]
    exits = range(1, policy.exits + 1)
    shares = pd.DataFrame({"exit": exits, "before": exited[0], "after": exited[1]})
    return Drift(tests, shares, alpha)


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values adjusted by Holm's correction, shape (T,)."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0)
    return adjusted


def homogeneity(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Pearson's chi-square statistic of two rows of counts (K,), and its p-value.

    If a cell's expected count is below five, the p-value is estimated from 9,999 random tables with
    the same margins.
    """
    table = np.stack([before, after])[:, (before + after) > 0]
    if table.shape[1] < 2:
        return 0.0, 1.0
    drawn = MonteCarloMethod(n_resamples=RESAMPLES, rng=np.random.default_rng(0))
    few = expected_freq(table).min() < EXPECTED
    found = chi2_contingency(table, correction=False, method=drawn if few else None)
    return float(found.statistic), float(found.pvalue)


def _shares(policy: Policy, before: Observed, after: Observed) -> Iterator[tuple[Any, ...]]:
    statistic, p_value = homogeneity(before.exited(policy.exits), after.exited(policy.exits))
    nothing = float("nan")
    yield "exit shares", nothing, len(after.taken), nothing, nothing, statistic, p_value


def _uncertainties(policy: Policy, before: Observed, after: Observed) -> Iterator[tuple[Any, ...]]:
    """Two-sample Kolmogorov-Smirnov test at each exit whose head runs and that samples reach."""
    for k in np.flatnonzero(policy.heads_run):
        old, new = before.reaching(k), after.reaching(k)
        if min(len(old), len(new)) == 0:
            continue
        found = ks_2samp(old, new, method="exact" if len(old) * len(new) < 1e6 else "asymp")
        medians = float(np.median(old)), float(np.median(new))
        yield "uncertainty", float(k + 1), len(new), *medians, found.statistic, found.pvalue


def _accuracy(before: Observed, after: Observed) -> tuple[Any, ...]:
    """Fisher's exact test of the hypothesis "no less accurate than on calibration"."""
    old, new = before.correct, after.correct
    counts = [[new.sum(), (~new).sum()], [old.sum(), (~old).sum()]]
    p_value = fisher_exact(counts, alternative="less").pvalue
    shares = float(old.mean()), float(new.mean())
    return "accuracy", float("nan"), len(new), *shares, shares[1] - shares[0], float(p_value)


def _promise(certificate: Mapping[str, Any] | None, after: Observed) -> Iterator[tuple[Any, ...]]:
    """Exact test of the hypothesis "the mean loss is at most the certified bound"."""
    if not certificate:
        return
    samples, bound = len(after.correct), float(certificate["bound"])
    worse = int((after.full_correct & ~after.correct).sum())
    better = int((after.correct & ~after.full_correct).sum())
    wrong = int((~after.correct).sum())
    if certificate["loss"] == "drop":
        loss, p_value = worse - better, broken_drop_p_value(worse, better, samples, bound)
    elif certificate["loss"] == "error":
        loss, p_value = wrong, broken_error_p_value(wrong, samples, bound)
    else:
        raise InputError(f"policy: the certificate is of {certificate['loss']}, not drop or error")
    yield "promise", float("nan"), samples, bound, loss / samples, loss / samples - bound, p_value
