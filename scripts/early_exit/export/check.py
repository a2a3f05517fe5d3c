"""Comparison of an export with the network under torch: agreement and speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from early_exit.errors import InputError
from early_exit.inference.engine import Engine
from early_exit.inference.runner import EarlyExitRunner
from early_exit.inference.single import IMAGE
from early_exit.inference.stopwatch import in_turns
from early_exit.networks import MultiExitNetwork
from early_exit.policy.agreement import TIE, Agreement, alike, explained_by
from early_exit.policy.outcomes import Outcomes
from early_exit.policy.policy import Policy
from early_exit.records.table import Records
from early_exit.structures.tree import Structure, map_tensors, rows, samples

BATCH_SIZES = (1, 128)
# Samples timed at each batch size, and the number of rounds.
SAMPLES = {1: 256, 128: 2048}
ROUNDS = 7


def agreement(
    policy: Policy, records: Records, one: Outcomes, other: Outcomes, precision: str = "fp32"
) -> Agreement:
    """Agreement of two runs in exit and class; the records tell ties.

    In a lower precision all that it explains is a tie: the runs differ in their batches.

    Raises
    ------
    InputError
        If they differ in the number of samples.
    """
    if not len(one.exit) == len(other.exit) == len(records):
        counts = len(one.exit), len(other.exit), len(records)
        raise InputError(
            f"export: runs of {counts[0]} and {counts[1]} samples, {counts[2]} records"
        )
    # Each equals the records, or is a tie with them.
    most = explained_by(precision, policy, records)
    tie = TIE if precision == "fp32" else most
    fine = [np.logical_or(*alike(policy, records, run, precision, tie)) for run in (one, other)]
    same = (one.exit == other.exit) & (one.prediction == other.prediction)
    equal = same & (np.abs(one.uncertainty - other.uncertainty) <= most)
    return Agreement.of(equal, ~equal & fine[0] & fine[1])


def single_run(
    load: Callable[[bytes], tuple[Any, Callable]], content: bytes, runner: Any
) -> Callable[[Any, int], tuple[np.ndarray, ...]]:
    """What runs the graph for one sample at a time, called as the exported runner's ``run``.

    Parameters
    ----------
    load
        Loads a graph in the runner's runtime: :data:`early_exit.export.runner.SESSIONS`.
    content
        The graph.
    runner
        The exported runner, which checks inputs.
    """
    used, graph = load(content)

    def run(inputs: Any, batch_size: int = 1) -> tuple[np.ndarray, ...]:
        arrays = runner.checked(inputs)
        names = [IMAGE] if runner.arrays is None else [own["name"] for own in runner.arrays]
        named = dict(zip(names, arrays, strict=True))
        rows = range(len(arrays[0]))
        # Of some inputs a graph has none, since it does not use them.
        taken = {name: named[name] for name in used}
        found = [graph({name: own[k : k + 1] for name, own in taken.items()}) for k in rows]
        return tuple(np.concatenate(column) for column in zip(*found, strict=True))

    return run


def time_both(
    network: MultiExitNetwork,
    policy: Policy,
    exported: Callable[[Any, int], Any],
    inputs: Structure,
    engine: Engine,
    regroup: bool,
    single: Callable[[Any, int], Any] | None = None,
) -> dict[str, dict[str, float]]:
    """Milliseconds per sample of the torch runner and of the export, by batch size.

    They take turns on the same samples, in rotating order, scaling included; each time is the
    median of the rounds.

    Parameters
    ----------
    exported
        Runs the export: inputs of a split as NumPy arrays, and a batch size.
    regroup
        Whether the torch runner regroups remaining samples.
    single
        Runs the single graph of the export, if it has one, likewise.

    Returns
    -------
    dict
        By batch size ``ms_torch``, ``ms_onnx`` and ``speed``, the first divided by the second; at
        size 1 ``ms_single`` of the single graph.
    """
    found = {}
    for size in BATCH_SIZES:
        some = rows(inputs, slice(0, SAMPLES[size]))
        runner = EarlyExitRunner(
            network, policy, engine, engine.regroup_size(size) if regroup else None
        )
        ways = [_under_torch(runner, engine, some, size), _exported(exported, some, size)]
        alone = single is not None and size == 1
        ways += [_exported(single, some, size)] if alone else []
        for way in ways:
            way()
        ms = in_turns(ways, ROUNDS, engine) / samples(some)
        found[str(size)] = {
            "ms_torch": float(ms[0]),
            "ms_onnx": float(ms[1]),
            "speed": float(ms[0] / ms[1]),
        } | ({"ms_single": float(ms[2])} if alone else {})
    return found


def as_arrays(inputs: Structure) -> Any:
    """Inputs of a split as NumPy arrays, for the exported runner."""
    return map_tensors(lambda one: one.numpy(), rows(inputs, slice(None)))


def _under_torch(
    runner: EarlyExitRunner, engine: Engine, inputs: Structure, size: int
) -> Callable[[], Any]:
    def run() -> None:
        starts = range(0, samples(inputs), size)
        runner.run(engine.prepare(rows(inputs, slice(s, s + size))) for s in starts)

    return run


def _exported(
    exported: Callable[[Any, int], Any], inputs: Structure, size: int
) -> Callable[[], Any]:
    arrays = as_arrays(inputs)
    return lambda: exported(arrays, size)
