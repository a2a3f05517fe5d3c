"""Thresholds that keep exit shares, and so the cost, when data have drifted; without labels.

Each threshold is a quantile of the uncertainties of the samples that reach its exit. So the shares
of samples that exit, and the mean multiply-accumulates, stay as they were on calibration, whatever
the drift does to the uncertainties. Accuracy is not looked at: it may be another one.
:func:`keep_shares` takes a batch of samples, :class:`QuantileTracker` a stream.

A head runs afterwards if it ran before: a switched-off exit stays off, and an exit at which no
sample exits keeps a finite threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from early_exit.errors import InputError
from early_exit.policy.policy import Policy

# Samples in the window of a tracker, and the fewest that move a threshold.
WINDOW, LEAST = 1000, 50


def keep_shares(policy: Policy, exit_shares: Sequence[float], uncertainty: np.ndarray) -> Policy:
    """The policy with thresholds under which ``exit_shares`` of the samples exit at each exit.

    Parameters
    ----------
    policy
        The policy, of K exits. Its criterion, and which heads run, are kept.
    exit_shares
        Shape (K,), the shares to keep, such as those of the calibration split.
    uncertainty
        Shape (N, K) or (N, K-1), uncertainties of the new samples by the policy's criterion.

    Returns
    -------
    Policy
        Without ties, the share up to each exit is within half a sample of the one to keep, and
        that of each exit within one. Samples tied in uncertainty exit together: of the two shares
        around them the nearer is taken, the smaller if both are as near, and later exits make up
        for it. The threshold of an exit that no sample reaches is kept.

    Raises
    ------
    InputError
        If there is no sample, an uncertainty is NaN, or policy, shares and samples differ in the
        number of exits.

    Examples
    --------
    >>> from early_exit.policy.criterion import ExitCriterion
    >>> policy = Policy(ExitCriterion(), (0.1, "never"))
    >>> drifted = np.array([[0.5, 0.2], [0.9, 0.4], [0.7, 0.1], [0.8, 0.3]])
    >>> keep_shares(policy, [0.5, 0.0, 0.5], drifted)
    Policy(ExitCriterion('entropy', 'below'), (0.8, 'never'))
    """
    shares = _checked(policy, exit_shares)
    turned = _turned(policy, uncertainty)
    if len(turned) == 0:
        raise InputError("exit shares: no samples to keep them on")
    if np.isnan(turned[:, np.array(policy.heads_run[:-1], bool)]).any():
        raise InputError("exit shares: an uncertainty is not a number")
    # Sums up to an exit, so that neither rounding nor ties add up from exit to exit.
    upto = np.rint(np.cumsum(shares) * len(turned)).astype(int)
    remaining, thresholds = np.arange(len(turned)), _turned_thresholds(policy)
    for k in _running(policy):
        values = turned[remaining, k]
        if len(values):
            exited = len(turned) - len(remaining)
            thresholds[k] = _cut(values, upto[k] - exited)
            remaining = remaining[values >= thresholds[k]]
    return _with(policy, thresholds)


class QuantileTracker:
    """A policy whose thresholds follow a stream of samples, so that exit shares are kept.

    The threshold of an exit is a quantile of its uncertainties among the last ``window`` samples of
    the stream, of those that reached it. So drift is followed within ``window`` samples, and
    forgotten as soon. The quantile is the share that exits of those that reach the exit. Running
    quantiles that hold exit shares under drift are those of JOLT (BASHLab/jolt-early-exit). A step
    by stochastic approximation (Robbins and Monro 1951, A stochastic approximation method) would
    need no window, but a step size in the unit of the measure; a window gives the same exits for
    every monotone transform of it.

    Deterministic: the same stream gives the same thresholds.

    Parameters
    ----------
    policy
        The policy at the start, of K exits. Its criterion, and which heads run, are kept.
    exit_shares
        Shape (K,), the shares to keep, such as ``calibration.exit_shares`` in ``policy.json``.
    window
        Number of samples that thresholds are quantiles of. The share of an exit varies with a
        standard deviation of about 0.5 / sqrt(window) at most.
    least
        Number of samples in the window that reach an exit, below which its threshold stays.

    Raises
    ------
    InputError
        If policy and shares differ in the number of exits, or ``window`` is less than ``least``.

    Examples
    --------
    >>> from early_exit.policy.criterion import ExitCriterion
    >>> policy = Policy(ExitCriterion(), (0.1,))
    >>> tracker = QuantileTracker(policy, [0.5, 0.5], window=4, least=2)
    >>> tracker.update([[0.5], [0.9], [0.7], [0.8]])
    >>> tracker.policy
    Policy(ExitCriterion('entropy', 'below'), (0.8,))
    """

    def __init__(
        self,
        policy: Policy,
        exit_shares: Sequence[float],
        window: int = WINDOW,
        least: int = LEAST,
    ) -> None:
        if not 1 <= least <= window:
            raise InputError(f"quantile tracker: a window of {window}, and at least {least} of it")
        self._policy, self._window, self._least = policy, int(window), int(least)
        self._shares = _checked(policy, exit_shares)
        # A row for each of the last samples, NaN at exits that it did not reach.
        self._recent = np.empty((0, policy.exits - 1))

    @property
    def policy(self) -> Policy:
        """The policy for the next samples."""
        return self._policy

    def update(self, uncertainties: Any) -> None:
        """Take in samples that were run under :attr:`policy`.

        Parameters
        ----------
        uncertainties
            Shape (n, K) or (n, K-1), by the policy's criterion, of one sample or of a batch.
            What lies behind the exit taken, or at an exit that is off, is not used, and may be NaN.

        Raises
        ------
        InputError
            If the number of exits is another one, or an exit that a sample reached has NaN.
        """
        turned = _turned(self._policy, uncertainties)
        seen = np.full_like(turned, np.nan)
        thresholds, reaching = _turned_thresholds(self._policy), np.ones(len(turned), bool)
        for k in _running(self._policy):
            seen[reaching, k] = turned[reaching, k]
            if np.isnan(seen[reaching, k]).any():
                raise InputError(
                    f"quantile tracker: a sample reached exit {k + 1}, but its uncertainty there is"
                    " not a number"
                )
            reaching &= ~(turned[:, k] < thresholds[k])
        self._recent = np.concatenate([self._recent, seen])[-self._window :]
        self._policy = _with(self._policy, self._quantiles(thresholds))

    def _quantiles(self, thresholds: np.ndarray) -> np.ndarray:
        """Thresholds (K-1,), turned, by the window; those of too few samples stay."""
        reach = 1.0 - np.cumsum(self._shares) + self._shares
        for k in _running(self._policy):
            values = self._recent[:, k][~np.isnan(self._recent[:, k])]
            if len(values) >= self._least and reach[k] > 0:
                share = min(1.0, self._shares[k] / reach[k])
                thresholds[k] = _cut(values, int(np.rint(share * len(values))))
        return thresholds

    def state(self) -> dict[str, Any]:
        """All that :meth:`from_state` needs to go on, for JSON."""
        recent = [[None if np.isnan(u) else u for u in row] for row in self._recent.tolist()]
        return {
            "policy": self._policy.to_json(),
            "exit_shares": self._shares.tolist(),
            "window": self._window,
            "least": self._least,
            "recent": recent,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> QuantileTracker:
        """The tracker of a :meth:`state`.

        Raises
        ------
        InputError
            If a key is missing or a value is not valid.
        """
        try:
            policy = Policy.from_json(state["policy"], "quantile tracker")
            own = cls(policy, state["exit_shares"], state["window"], state["least"])
            recent = np.array(state["recent"], float).reshape(-1, policy.exits - 1)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"quantile tracker: not a state ({type(error).__name__}: {error})",
                "give what QuantileTracker.state returned",
            ) from error
        own._recent = recent
        return own


def _cut(values: np.ndarray, count: int) -> float:
    """Threshold, turned, below which ``count`` of ``values`` (n,) lie, or the nearest number.

    Infinite if all exit. If none does, the lowest value: minus infinity would switch the head off.
    """
    ordered = np.sort(values)
    count = min(max(count, 0), len(ordered))
    if count == len(ordered):
        return np.inf
    # The value that is the first to stay, with all that are tied with it.
    first, end = (int(np.searchsorted(ordered, ordered[count], side)) for side in ("left", "right"))
    if count - first <= end - count:
        return float(ordered[first])
    return float(ordered[end]) if end < len(ordered) else np.inf


def _checked(policy: Policy, exit_shares: Sequence[float]) -> np.ndarray:
    """Exit shares (K,), checked to be shares."""
    shares = np.asarray(exit_shares, float)
    if shares.shape != (policy.exits,):
        raise InputError(f"exit shares: {shares.size}, but the policy has {policy.exits} exits")
    if not (np.all(shares >= 0) and abs(shares.sum() - 1) < 1e-6):
        raise InputError(f"exit shares: must be shares whose sum is 1, not {shares.tolist()}")
    return shares


def _turned(policy: Policy, uncertainty: Any) -> np.ndarray:
    """Uncertainties (n, K-1), in double precision, turned so that lower ones exit."""
    found = np.atleast_2d(np.asarray(uncertainty, np.float64))
    if found.ndim != 2 or found.shape[1] not in (policy.exits, policy.exits - 1):
        raise InputError(
            f"policy: made for {policy.exits} exits, but the uncertainties have the shape"
            f" {found.shape}"
        )
    return policy.rule.sign * found[:, : policy.exits - 1]


def _turned_thresholds(policy: Policy) -> np.ndarray:
    return policy.rule.sign * np.asarray(policy.thresholds, float)


def _running(policy: Policy) -> np.ndarray:
    """Early exits, from 0, whose heads run."""
    return np.flatnonzero(policy.heads_run[:-1])


def _with(policy: Policy, turned: np.ndarray) -> Policy:
    """The policy with other thresholds, in turned units."""
    return Policy(policy.criterion, tuple(float(policy.rule.sign * t) for t in turned))
