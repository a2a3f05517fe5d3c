"""Checks of a network on small batches, before anything long starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from early_exit.errors import InputError, reason_of
from early_exit.networks.custom import check_parts
from early_exit.networks.heads import CONFIDENCE, run_heads
from early_exit.networks.memory import (
    CHANNELS_LAST,
    formatted,
    in_memory,
    keep_contiguous,
    kept_contiguous,
)
from early_exit.networks.trial import Exit, Trial
from early_exit.structures.inputs import InputSpec
from early_exit.structures.tree import (
    Structure,
    flatten,
    map_batched,
    map_tensors,
    rows,
    unflatten,
    without_batch,
)

LOGGER = logging.getLogger(__name__)
# Relative tolerance: rounding depends on the size of the batch.
TOLERANCE = 1e-3
# Absolute tolerance of the sum of probabilities.
SUM_TOLERANCE = 1e-3
# What one of the inputs is called in messages, by the word for all of them.
ONE = {"images": "image", "inputs": "input"}
# Endings of the messages about outputs that differ for the same sample.
IN_A_BATCH = (
    " for an {one} alone than in a batch; in evaluation mode nothing may depend on the other"
    " {one}s, as it does in batch norm without running statistics, or in a transformer without"
    " batch_first"
)
NOT_DETERMINISTIC = (
    " for the same {one}s each time; nothing may be random, or counted, in evaluation mode"
)
AFTER_EXITS = (
    " for an {one} once others have exited; each stage must process every {one}"
    " independently, along the first axis"
)
ONCE_EXITED = ", once others have exited"


def check(
    network: nn.Module,
    classes: int,
    shape: InputSpec | Sequence[int],
    warn: Callable[[str], object] = LOGGER.warning,
) -> None:
    """Check a network of K exits on random images, or on examples of other inputs.

    It needs K stages and K heads, K at least 2. Each head returns (N, C) finite logits and does
    not change its features. A sample's logits do not depend on the rest of the batch, also once
    other samples have exited. No stage changes its inputs. A network that cannot run in
    channels-last memory is kept in contiguous memory from here on.

    Parameters
    ----------
    shape
        What the network takes: channels, height and width of images, or other inputs.
    warn
        Called with one line for each head whose logits look like probabilities.

    Raises
    ------
    InputError
        One line that names the stage or head.
    """
    check_parts(network)
    spec = InputSpec.of(shape)
    inputs, word = spec.batch(2), "images" if spec.images else "inputs"
    network.eval()
    with _without_side_effects():
        trial = Trial(network, classes, word)
        both = trial.run(inputs)
        single = [trial.run(rows(inputs, slice(i, i + 1))) for i in range(2)]
        for k, exit_ in enumerate(both):
            shared = _shared(k, exit_, single[0][k])
            unlike = _unlike(k, exit_, _joined([one[k] for one in single], shared), shared)
            if unlike:
                again = _unlike(k, exit_, trial.run(inputs)[k], shared)
                ending = NOT_DETERMINISTIC if again else IN_A_BATCH
                raise InputError((again or unlike) + ending.format(one=ONE[word]))
        _check_thinned(trial, inputs, both, single[0])
    _warn_of_probabilities(both, warn)
    settle_memory(network, spec)


def check_confidence(network: nn.Module, inputs: Structure, measured: Sequence[str]) -> None:
    """Refuse the measure ``confidence`` for a network whose heads return none.

    Parameters
    ----------
    inputs
        A batch, as the network takes it.
    measured
        Names of all measures that will be used.

    Raises
    ------
    InputError
        If it is among them, and no head returns a confidence.
    """
    if CONFIDENCE not in measured:
        return
    with _without_side_effects():
        found = run_heads(network, inputs)
    if all(one.confidence is None for one in found):
        raise InputError(
            "measure: confidence is what heads return with their logits, but no head of this"
            " network returns one",
            "set measure to another one, or let heads return (logits, confidence), as"
            " docs/networks.md shows",
        )


def _warn_of_probabilities(exits: list[Exit], warn: Callable[[str], object]) -> None:
    for k, (_, logits, _) in enumerate(exits, 1):
        if logits.min() >= 0 and (logits.sum(dim=1) - 1).abs().max() < SUM_TOLERANCE:
            warn(
                f"head {k}: returns probabilities (none below 0, each row sums to 1) where logits"
                " are expected: loss, uncertainties and temperatures apply a softmax again, which"
                " makes every exit look unsure; leave the softmax out, or use nn.LogSoftmax"
            )


def settle_memory(network: nn.Module, shape: InputSpec | Sequence[int]) -> None:
    """Keep a network contiguous if it fails, or its logits differ, in channels-last memory."""
    if kept_contiguous(network):
        return
    inputs = InputSpec.of(shape).batch(2)
    with _without_side_effects():
        reason = _fails_in_channels_last(network, inputs, network(map_tensors(torch.clone, inputs)))
    if reason:
        LOGGER.info("The network is run in contiguous memory; in channels-last memory %s", reason)
        keep_contiguous(network)


def _fails_in_channels_last(
    network: nn.Module, inputs: Structure, expected: torch.Tensor
) -> str | None:
    """Why a network cannot run in channels-last memory, or ``None``."""
    trial = Trial(network, expected.shape[2], "images")
    try:
        with in_memory(network, CHANNELS_LAST):
            given = formatted(inputs, CHANNELS_LAST)
            found = trial.run(given)
            first = trial.run(rows(given, slice(0, 1)))
            _check_thinned(trial, given, found, first)
    except InputError as error:
        return str(error)
    except RuntimeError as error:
        # Weights of a 3d convolution have no channels-last format.
        return reason_of(error)
    same = all(_near(one.logits, expected[:, k]) for k, one in enumerate(found))
    return None if same else "its logits differ"


@contextmanager
def _without_side_effects() -> Iterator[None]:
    """Run without gradients, and restore the random state, which the next weights depend on."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        yield


def _near(one: torch.Tensor, other: torch.Tensor) -> bool:
    return float((one - other).abs().max()) <= TOLERANCE * max(1.0, float(other.abs().max()))


def _shared(k: int, both: Exit, alone: Exit) -> frozenset[int]:
    """Positions of the tensors without a batch in the output of stage ``k`` (from 0)."""
    if isinstance(both.features, torch.Tensor):
        return frozenset()
    return without_batch(both.features, alone.features, (2, 1), f"stage {k + 1}")


def _joined(exits: list[Exit], shared: frozenset[int]) -> Exit:
    """The exits of single samples as that of a batch."""
    parts, specs = zip(*(flatten(one.features) for one in exits), strict=True)
    leaves = [
        torch.cat(own) if isinstance(own[0], torch.Tensor) and number not in shared else own[0]
        for number, own in enumerate(zip(*parts, strict=True))
    ]
    logits = torch.cat([one.logits for one in exits])
    learned = exits[0].confidence is not None
    confidence = torch.cat([one.confidence for one in exits]) if learned else None
    return Exit(unflatten(leaves, specs[0]), logits, confidence)


def _unlike(k: int, one: Exit, other: Exit, shared: frozenset[int] = frozenset()) -> str | None:
    """How the outputs of stage or head ``k`` (from 0) differ for the same inputs, or ``None``."""
    pairs = zip(flatten(one.features)[0], flatten(other.features)[0], strict=True)
    for number, (features, others) in enumerate(pairs):
        if not isinstance(features, torch.Tensor) or number in shared:
            continue
        if features.is_floating_point() and features.numel():
            apart, size = (features - others).abs(), features.abs()
            # The mean: rounding may change a few features a lot, after a cut-off at 0 or a ranking.
            if float(apart.nanmean()) > TOLERANCE * float(size.nanmean()):
                return f"stage {k + 1}: returns other features"
    if not _near(one.logits, other.logits):
        apart = float((one.logits - other.logits).abs().max())
        return f"head {k + 1}: returns other logits (by {apart:.2g})"
    if one.confidence is not None and not _near(one.confidence, other.confidence):
        apart = float((one.confidence - other.confidence).abs().max())
        return f"head {k + 1}: returns another confidence (by {apart:.2g})"
    return None


def _check_thinned(
    trial: Trial, inputs: Structure, expected: list[Exit], alone: list[Exit]
) -> None:
    """Refuse a network whose logits of a sample change once the other one has exited."""
    stages = trial.network.stages
    features = stages[0](map_tensors(torch.clone, inputs))
    features = _taken_out(features, _shared(0, expected[0], alone[0]))
    earlier = [expected[0].logits[1:]]
    for k in range(1, len(stages)):
        features, found = trial.step(k, features, 1, earlier, ONCE_EXITED)
        earlier.append(found.logits)
        shared = _shared(k, expected[k], alone[k])
        own = Exit(
            map_batched(lambda one: one[1:], expected[k].features, shared),
            expected[k].logits[1:],
            None if expected[k].confidence is None else expected[k].confidence[1:],
        )
        unlike = _unlike(k, own, found, shared)
        if unlike:
            raise InputError(unlike + AFTER_EXITS.format(one=ONE[trial.word]))


def _taken_out(features: Structure, shared: frozenset[int]) -> Structure:
    """The second sample alone, in the memory format it has once the first one has exited."""
    return map_batched(_second, features, shared)


def _second(features: torch.Tensor) -> torch.Tensor:
    last = features.dim() == 4 and features.is_contiguous(memory_format=torch.channels_last)
    taken = features.index_select(0, torch.tensor([1]))
    return taken.contiguous(memory_format=torch.channels_last) if last else taken
