"""Agreement of a run with the records, and which of them is at fault where they disagree.

Records are made by the engine that runs, in its precision. Batches of other sizes still move the
uncertainties of all samples a little; so does a run that mixes its samples up. To tell them apart,
the samples that differ, and some that do not, are run again through every exit: in batches of the
records' size, which must match the records; and in batches of other sizes, which shows how far a
result depends on its batch. The run must then match the network's results for each of these
samples, near ties aside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle

import numpy as np
import torch

from early_exit.errors import InputError
from early_exit.inference.engine import Engine
from early_exit.inference.exits import Outputs, all_outputs, outputs_of
from early_exit.inference.timing import spread_starts
from early_exit.networks import MultiExitNetwork
from early_exit.policy.agreement import TIE, Agreement, alike, explained_by, near_on_the_way
from early_exit.policy.outcomes import Outcomes
from early_exit.policy.policy import Policy
from early_exit.records.table import Records, from_logits
from early_exit.structures.tree import Structure, samples
from early_exit.structures.tree import rows as rows_of

# Samples that are run again: of those that agree, and at most of those that differ.
SAMPLE = 1000
MOST = 5000


def agree(
    policy: Policy,
    records: Records,
    run: Outcomes,
    inputs: Structure,
    batch_size: int,
    engine: Engine,
    load: Callable[[], MultiExitNetwork],
    records_file: str,
) -> Agreement:
    """Agreement of a run in any precision with the records.

    In full precision nothing is run again unless samples differ by more than a tie.

    Parameters
    ----------
    inputs, batch_size, engine
        Inputs, batch size and engine of the run.
    load
        Returns the network, freshly read.
    records_file
        Path of the records, for messages.

    Raises
    ------
    InputError
        If they differ by more than rounding explains; the message names what is at fault.
    """
    equal, near = alike(policy, records, run, engine.precision)
    off = np.flatnonzero(~equal & ~near)
    if engine.precision != "fp32" or len(off):
        again = off[spread_starts(len(off), 1, MOST)] if len(off) else off
        rows = np.union1d(again, spread_starts(len(records), 1, SAMPLE)).astype(np.int64)
        _settle(
            policy,
            records.select(rows),
            _select(run, rows),
            rows_of(inputs, torch.from_numpy(rows)),
            batch_size,
            engine,
            load,
            records_file,
        )
    return Agreement(int(equal.sum()), int((~equal & near).sum()), 0, len(off))


def _select(run: Outcomes, rows: np.ndarray) -> Outcomes:
    return Outcomes(run.prediction[rows], run.exit[rows], run.uncertainty[rows])


def _settle(
    policy: Policy,
    records: Records,
    run: Outcomes,
    inputs: Structure,
    batch_size: int,
    engine: Engine,
    load: Callable[[], MultiExitNetwork],
    records_file: str,
) -> None:
    """Run the samples of ``records`` again; raise if that does not explain the run."""
    network = engine.ready(load())
    found = all_outputs(network, inputs, batch_size, engine)
    _check_finite(found, engine.precision)
    _check_records(policy, records, found, records_file, engine.precision)
    other = in_many_sizes(network, inputs, batch_size, engine)
    _check_batches(policy, records, found, other, engine.precision)
    bad = ~explained(policy, records, run, found, other)
    if bad.any():
        raise InputError(
            f"evaluation: {int(bad.sum())} of {len(bad)} samples that were run again have another"
            " exit, class or uncertainty under the policy than when every exit of the network is"
            f" run on them in {engine.precision}, the first of them with index"
            f" {int(records.index[bad][0])}: the records are correct, so the code that runs the"
            " policy is at fault (runner.py or regrouping.py in early_exit/inference), or the"
            " processor",
            "restore these files if they were edited, else report it",
        )


def _seen(policy: Policy, records: Records, found: Outputs) -> tuple[np.ndarray, np.ndarray]:
    """Uncertainties and predictions (N, K) under the policy, from outputs of recorded samples."""
    given = records.index, records.label, found.logits, dict(records.provenance)
    own = from_logits(*given, whole=False, confidence=found.confidence)
    return policy.criterion.uncertainty(own).astype(float), policy.criterion.prediction(own)


def _uncertainties(policy: Policy, records: Records, found: Outputs) -> np.ndarray:
    return _seen(policy, records, found)[0]


def _check_records(
    policy: Policy, records: Records, found: Outputs, where: str, precision: str
) -> None:
    """Raise if the records are not the network's outputs in their precision."""
    recorded = policy.criterion.uncertainty(records)
    most = explained_by(precision, policy, records)
    bad = (np.abs(_uncertainties(policy, records, found) - recorded) > most).any(axis=1)
    logits = found.logits
    chosen = np.take_along_axis(logits, records.prediction[:, :, None], axis=2)[:, :, 0]
    bad |= (logits.max(axis=2) - chosen > most * np.abs(logits).max(axis=2)).any(axis=1)
    if bad.any():
        raise InputError(
            f"{where}: {int(bad.sum())} of {len(bad)} samples that were run again in {precision}"
            " through every exit differ from the records by more than rounding, the first of them"
            f" with index {int(records.index[bad][0])}: the records are not of this network and"
            " data",
            "delete them and run again",
        )


def _check_finite(found: Outputs, precision: str) -> None:
    """Raise if the network's outputs are not finite in the precision."""
    finite = np.isfinite(found.logits).all(axis=(0, 2))
    if found.confidence is not None:
        finite &= np.isfinite(found.confidence).all(axis=0)
    if not finite.all():
        raise InputError(
            f"inference.precision: in {precision} the network's logits are NaN or infinite at exit"
            f" {1 + int(finite.argmin())}",
            "set inference.precision to fp32",
        )


def _check_batches(
    policy: Policy, records: Records, one: Outputs, other: Outputs, precision: str
) -> None:
    """Raise if a sample's results depend on the batch it is in."""
    off = _rms(_uncertainties(policy, records, one) - _uncertainties(policy, records, other))
    if not off.max() <= explained_by(precision, policy, records):
        raise InputError(
            f"network: the uncertainties of exit {1 + off.argmax()} change by {off.max():.2g} (root"
            " mean square) in batches of other sizes, so no policy runs as it was simulated",
            "make each stage and head treat every sample of a batch independently, and without"
            " randomness",
        )


def explained(
    policy: Policy, records: Records, run: Outcomes, found: Outputs, other: Outputs
) -> np.ndarray:
    """Whether a run matches the network's own results for each sample, shape (N,), bool.

    Parameters
    ----------
    found, other
        Outputs of every exit in the run's precision, and the same in batches of other sizes. A
        sample nearer to a threshold, or to another class, than twice the largest difference between
        the two is a tie.
    """
    logits = found.logits
    unsure, predicted = _seen(policy, records, found)
    unsure_by_batch, predicted_by_batch = _seen(policy, records, other)
    by_batch = 2 * np.abs(unsure - unsure_by_batch).max(axis=0) + TIE
    logits_by_batch = 2 * np.abs(logits - other.logits).max(axis=(0, 2)) + TIE
    taken = policy.exits_taken(unsure)
    there = np.arange(len(unsure)), run.exit
    exits = (run.exit == taken) | near_on_the_way(policy, unsure, run.exit, taken, by_batch[:-1])
    close = np.abs(run.uncertainty - unsure[there]) <= by_batch[run.exit]
    known = (run.prediction >= 0) & (run.prediction < logits.shape[2])
    given = logits[(*there, np.where(known, run.prediction, 0))]
    classes = known & (logits[there].max(axis=1) - given <= logits_by_batch[run.exit])
    # Predictions of an ensemble are not the exit's own.
    for own in (predicted, predicted_by_batch):
        classes |= run.prediction == own[there]
    return exits & close & classes


def in_many_sizes(
    network: MultiExitNetwork, inputs: Structure, largest: int, engine: Engine
) -> Outputs:
    """Outputs of every exit, in batches of 1, 2, 4, ... and ``largest``, in turns."""

    def batches() -> Iterator[Structure]:
        sizes = [2**power for power in range(largest.bit_length()) if 2**power < largest]
        start = 0
        for size in cycle([*sizes, largest]):
            if start >= samples(inputs):
                return
            yield engine.prepare(rows_of(inputs, slice(start, start + size)))
            start += size

    return outputs_of(engine.ready(network), batches())


def _rms(differences: np.ndarray) -> np.ndarray:
    """Root mean square of each column."""
    return np.sqrt((differences**2).mean(axis=0))
