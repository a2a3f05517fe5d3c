"""Graphs of several parts as one: a call less for each, which is what a single sample waits for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import compose

from early_exit.inference.backends.tensors import positions_of

# Of the names in a graph that are of its head.
HEAD_PREFIX = "head_"


def fused(stages: Sequence[Path], head: Path, keep_features: bool) -> onnx.ModelProto | None:
    """Stages in order, and a head on the last one's features, as one graph.

    It takes what the first stage takes, and returns the last stage's features, if they are kept,
    then what the head returns.

    Parameters
    ----------
    stages, head
        ONNX files, which were checked. The head takes features alone.

    Returns
    -------
    onnx.ModelProto
        ``None`` where the parts cannot be one graph: of other versions of ONNX, say, as a quantized
        part may be.
    """
    model = _loaded(stages[0])
    try:
        for number, path in enumerate(stages[1:], 1):
            model = _followed(model, path, f"stage{number}_", [])
        kept = [one.name for one in model.graph.output] if keep_features else []
        return _followed(model, head, HEAD_PREFIX, kept)
    except (ValueError, TypeError):
        return None


def _followed(
    first: onnx.ModelProto, path: Path, prefix: str, kept: Sequence[str]
) -> onnx.ModelProto:
    """A graph followed by another that takes its outputs; those in ``kept`` stay outputs."""
    second = _loaded(path)
    given = [one.name for one in second.graph.input]
    returned = [one.name for one in first.graph.output]
    pairs = zip(given, positions_of(given), strict=True)
    taken = [(returned[position], prefix + name) for name, position in pairs]
    outputs = [*kept, *(prefix + one.name for one in second.graph.output)]
    # Names of the first keep their form, since they say which input is which.
    second = compose.add_prefix(second, prefix)
    return compose.merge_models(first, second, taken, outputs=outputs)


def _loaded(path: Path) -> onnx.ModelProto:
    # All weights are in the file; others, which nothing checks, are not read.
    return onnx.load(path, load_external_data=False)
