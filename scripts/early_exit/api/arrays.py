"""Runs from arrays, without files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from early_exit.api.criterion import MEASURES, criteria_of, fitted
from early_exit.api.run import Run
from early_exit.api.source import Arrays
from early_exit.errors import InputError
from early_exit.policy.costs import CostModel, costs_from_table
from early_exit.policy.external_costs import costs_of_exits
from early_exit.records.table import Records, from_external
from early_exit.records.table import from_logits as records_of_logits
from early_exit.records.uncertainty.measures import EXTERNAL


def from_logits(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    macs: ArrayLike | None = None,
    relative: ArrayLike | None = None,
    ms: ArrayLike | None = None,
    head_macs: ArrayLike | None = None,
    head_relative: ArrayLike | None = None,
    head_ms: ArrayLike | None = None,
    test: tuple[ArrayLike, ...] | None = None,
    class_names: Sequence[str] | None = None,
    confidence: ArrayLike | None = None,
    measure: str | Sequence[str] = MEASURES,
    exit_rule: str = "below",
    name: str = "logits",
) -> Run:
    """Make a run from the logits of every exit.

    Parameters
    ----------
    logits
        Shape (N, K, C), of the calibration split: samples that the network was not trained on.
        Finite.
    labels
        Shape (N,), whole numbers from 0 to C-1, of at least two classes.
    macs, relative, ms
        Shape (K,), increasing: the cost of a sample that exits at each exit, including all stages
        and heads up to there, in multiply-accumulates, a unit of your own, or milliseconds. At
        least one; not both ``macs`` and ``relative``.
    head_macs, head_relative, head_ms
        Shape (K,), the part of that cost that the exit's own head takes, and that an exit with the
        threshold ``"never"`` saves. By default 0.
    test
        Logits (M, K, C) and labels (M,) of the test split, and their confidences (M, K) if
        ``confidence`` is given. Nothing is chosen on it.
    class_names
        C names.
    confidence
        Shape (N, K), numbers that the exits return with their logits, higher where an exit is more
        likely right, for the measure ``"confidence"``. Finite.
    measure, exit_rule
        The exit criterion; see :class:`Run`. Of several measures :meth:`Run.calibrate` takes the
        one that is best on the calibration split.
    name
        Name of the run.

    Returns
    -------
    Run
        The run. It keeps the logits in single precision.

    Raises
    ------
    InputError
        If shapes don't match, a logit or confidence is not finite, a label is out of range, or
        costs don't increase.

    Examples
    --------
    >>> import numpy as np
    >>> import early_exit as ee
    >>> def sample(samples, seed):
    ...     rng = np.random.default_rng(seed)
    ...     labels = rng.integers(0, 4, samples)
    ...     signal = np.eye(4)[labels][:, None] * np.array([[1.0], [2.5], [4.0]])
    ...     return signal + rng.normal(size=(samples, 3, 4)), labels
    >>> run = ee.from_logits(*sample(500, seed=0), macs=[2e6, 6e6, 15e6], test=sample(300, seed=1))
    >>> run
    Run logits
      exits             3
      classes           4
      samples           500 calibration, 300 test
      accuracy by exit  55.3 %, 91.3 %, 99.0 % (test)
      cost by exit      2.00 M MACs, 6.00 M MACs, 15.00 M MACs
      exit criterion    margin, max_probability or entropy below the threshold
    """
    own = (logits, labels) if confidence is None else (logits, labels, confidence)
    splits = {"calibration": own} | ({} if test is None else {"test": test})
    tables = {split: _logits_of(split, given, len(own)) for split, given in splits.items()}
    _check_alike(tables)
    classes = tables["calibration"].classes
    costs = _costs(tables["calibration"].exits, macs, relative, ms)
    costs |= _costs(tables["calibration"].exits, head_macs, head_relative, head_ms, "head_")
    if class_names is not None and len(class_names) != classes:
        raise InputError(
            f"class_names: {len(class_names)} for {classes} classes", f"give {classes}"
        )
    return _run(name, tables, costs, measure, exit_rule, class_names)


def from_uncertainties(
    uncertainty: ArrayLike,
    correct: ArrayLike,
    *,
    macs: ArrayLike | None = None,
    relative: ArrayLike | None = None,
    ms: ArrayLike | None = None,
    head_macs: ArrayLike | None = None,
    head_relative: ArrayLike | None = None,
    head_ms: ArrayLike | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    exit_rule: str = "below",
    name: str = "uncertainties",
) -> Run:
    """Make a run from uncertainties of your own, and the correctness of each exit.

    Parameters
    ----------
    uncertainty
        Shape (N, K), in any unit, of the calibration split; low means confident. Finite.
    correct
        Shape (N, K), whether each exit classifies each sample correctly: booleans, or 0 and 1.
    macs, relative, ms, head_macs, head_relative, head_ms, exit_rule, name
        As of :func:`from_logits`.
    test
        Uncertainties (M, K) and correctness (M, K) of the test split. Nothing is chosen on it.

    Returns
    -------
    Run
        The run. Its measure is ``"external"``; it has no classes.

    Raises
    ------
    InputError
        If shapes don't match, an uncertainty is not finite, or costs don't increase.

    Examples
    --------
    >>> uncertainty, correct = [[0.1, 0.2], [0.7, 0.3], [0.9, 0.6]], [[1, 1], [0, 1], [0, 0]]
    >>> run = ee.from_uncertainties(uncertainty, correct, relative=[0.4, 1.0])
    >>> run.simulate(run.make_policy(0.5), "calibration").exit_shares.round(3).tolist()
    [0.333, 0.667]
    """
    splits = {"calibration": (uncertainty, correct)} | ({} if test is None else {"test": test})
    read = {split: _uncertainties_of(split, own) for split, own in splits.items()}
    known = read["calibration"][0]
    span = (float(known.min()), float(known.max()))
    tables = {
        split: from_external(
            np.arange(len(own[0])), *own, _provenance(split, *own) | {"span": span}
        )
        for split, own in read.items()
    }
    _check_alike(tables)
    costs = _costs(known.shape[1], macs, relative, ms)
    costs |= _costs(known.shape[1], head_macs, head_relative, head_ms, "head_")
    return _run(name, tables, costs, EXTERNAL, exit_rule, None)


def _run(
    name: str,
    tables: dict[str, Records],
    costs: dict[str, np.ndarray],
    measure: str | Sequence[str],
    exit_rule: str,
    class_names: Sequence[str] | None,
) -> Run:
    model, unit = _cost_model(tables["calibration"].exits, costs)
    names = None if class_names is None else tuple(map(str, class_names))
    source = Arrays(name, tables, model, unit, names)
    criteria = criteria_of(measure, exit_rule, tables["calibration"].exits)
    return Run(source, fitted(criteria, source))


def _logits_of(split: str, given: tuple[ArrayLike, ...], arrays: int) -> Records:
    what = "logits (N, K, C) and labels (N,)"
    if arrays == 3:
        what = "logits (N, K, C), labels (N,) and confidence (N, K)"
    logits, labels, *confidence = _several(split, given, what, arrays)
    # In single precision like the workflow's records, so that equal logits give equal policies.
    with np.errstate(over="ignore"):
        logits = _numbers(logits, f"{split} logits").astype(np.float32)
    if logits.ndim != 3:
        raise InputError(
            f"{split} logits: shape {logits.shape}; expected (N, K, C): samples, exits, classes"
        )
    labels = _numbers(labels, f"{split} labels")
    if labels.shape != logits.shape[:1]:
        raise InputError(
            f"{split} labels: shape {labels.shape} for logits of shape {logits.shape}; expected"
            f" ({len(logits)},), a class number for each sample"
        )
    if not np.array_equal(labels, np.rint(labels)):
        raise InputError(f"{split} labels: not whole numbers", "give class numbers from 0")
    if logits.shape[1] < 1 or logits.shape[2] < 2:
        raise InputError(
            f"{split} logits: shape {logits.shape}; needs at least one exit and two classes"
        )
    learned = [_numbers(own, f"{split} confidence") for own in confidence]
    provenance = _provenance(split, logits, labels, *learned)
    return records_of_logits(
        np.arange(len(logits)),
        labels,
        logits,
        provenance,
        confidence=learned[0] if learned else None,
    )


def _uncertainties_of(
    split: str, given: tuple[ArrayLike, ArrayLike]
) -> tuple[np.ndarray, np.ndarray]:
    what = "uncertainty (N, K) and correct (N, K)"
    uncertainty, correct = _several(split, given, what, 2)
    uncertainty = _numbers(uncertainty, f"{split} uncertainty").astype(np.float64)
    correct = _numbers(correct, f"{split} correct")
    if uncertainty.ndim != 2 or correct.shape != uncertainty.shape or uncertainty.size == 0:
        raise InputError(
            f"{split} uncertainty: shape {uncertainty.shape}, correct: shape {correct.shape};"
            " both must be (N, K): samples, exits"
        )
    if not np.isfinite(uncertainty).all():
        sample, exit = np.argwhere(~np.isfinite(uncertainty))[0]
        raise InputError(
            f"{split} uncertainty: NaN or infinite, first for sample {sample} at exit {exit + 1}"
        )
    if not np.isin(correct, (0, 1)).all():
        raise InputError(f"{split} correct: must be booleans, or 0 and 1")
    return uncertainty, correct.astype(bool)


def _several(split: str, given: Any, expected: str, count: int) -> tuple[Any, ...]:
    if not isinstance(given, tuple | list) or len(given) != count:
        raise InputError(f"{split}: must be a {('pair', 'triple')[count - 2]} of {expected}")
    return tuple(given)


def _numbers(given: Any, what: str) -> np.ndarray:
    """Convert to an array of numbers; torch tensors must be on the CPU."""
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what}: not an array of numbers ({error})") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what}: {array.dtype}, not numbers", "give an array of numbers")
    return array


def _check_alike(tables: dict[str, Records]) -> None:
    """Raise an error for splits that differ in the number of exits or classes."""
    shapes = {split: (own.exits, own.classes) for split, own in tables.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{split} has {k} exits, {c} classes" for split, (k, c) in shapes.items())
        raise InputError(f"test: {found}; both must come from the same network")


def _provenance(split: str, *arrays: np.ndarray) -> dict[str, Any]:
    """Provenance of arrays in memory, identified by their checksum."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return {"network": "memory", "data": digest.hexdigest(), "split": split}


def _costs(
    exits: int,
    macs: ArrayLike | None,
    relative: ArrayLike | None,
    ms: ArrayLike | None,
    prefix: str = "",
) -> dict[str, np.ndarray]:
    """The given costs by column name; at least one, except of heads."""
    given = {"macs": macs, "relative": relative, "ms": ms}
    known = {f"{prefix}{name}": own for name, own in given.items() if own is not None}
    if not known and not prefix:
        raise InputError(
            "costs: none is given",
            "give macs, relative or ms, a number for each exit: the cost of a sample that exits"
            " there, including all stages and heads up to there",
        )
    arrays = {name: _numbers(own, name).astype(float) for name, own in known.items()}
    for name, array in arrays.items():
        if array.shape != (exits,):
            raise InputError(
                f"{name}: shape {array.shape} for {exits} exits",
                f"give {exits} numbers, one for each exit",
            )
    return arrays


def _cost_model(exits: int, costs: dict[str, np.ndarray]) -> tuple[CostModel, str]:
    table = pd.DataFrame({"exit": np.arange(1, exits + 1)} | costs)
    own, machine = costs_of_exits(table, "costs")
    model = costs_from_table(own, "costs", machine["batch_size"], machine["regroup"])
    return model, machine.get("unit", "macs")
