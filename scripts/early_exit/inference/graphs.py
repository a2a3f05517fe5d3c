"""ONNX graphs of a network: one of each stage and each head, so that samples can exit between them.

Runtimes other than torch run them (:mod:`early_exit.inference.backends`), and exports carry them.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from early_exit.errors import InputError, reason_of
from early_exit.inference.backends.tensors import as_exported
from early_exit.inference.rewriting import rewritten
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import callable_head, takes_earlier
from early_exit.networks.shared import shared_leaves
from early_exit.structures.inputs import InputSpec
from early_exit.structures.tree import Structure, flatten, map_tensors, tensors, unflatten

# Version of the ONNX operator set.
OPSET = 20


def export_graphs(
    network: MultiExitNetwork, shape: InputSpec | Sequence[int], folder: Path
) -> dict[str, Any]:
    """Write ``stage_1.onnx``, ``head_1.onnx`` ... to ``folder``; returns what a runner must know.

    A graph takes the tensors of its features in order, ``input`` or ``input_1``, ``input_2`` ...;
    the head of a cascade then those of earlier logits. The batch, of any size from 1, is the first
    axis of each but those that all samples share. A stage returns its tensors likewise, a head
    logits and, if it learned one, a confidence.

    Returns
    -------
    dict
        ``stages`` and ``heads``: names of the graphs, in order; for each stage the positions of its
        ``shared`` tensors, which have no batch; for each head whether it takes the logits of
        ``earlier`` exits. The last two only where there are any.

    Raises
    ------
    InputError
        If a stage or head cannot be expressed in ONNX.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = network.eval().cpu().float()
    # A batch of two: the exporter takes an axis of length 1 for a constant.
    features: Structure = as_exported(InputSpec.of(shape).batch(2))
    shared, earlier = shared_leaves(network, features), []
    names: dict[str, Any] = {"stages": [], "heads": [], "shared": [], "earlier": []}
    held: frozenset[int] = frozenset()
    for k, (stage, head) in enumerate(zip(network.stages, network.heads, strict=True)):
        _export(stage, (features,), held, folder / f"stage_{k + 1}.onnx")
        with torch.inference_mode():
            features = stage(features)
        held = shared[k]
        features = map_tensors(torch.clone, features)
        given = (features, tuple(earlier)) if takes_earlier(head) else (features,)
        _export(head, given, held, folder / f"head_{k + 1}.onnx")
        with torch.inference_mode():
            logits = callable_head(head)(features, earlier).logits
        earlier.append(logits.clone())
        names["stages"].append(f"{folder.name}/stage_{k + 1}.onnx")
        names["heads"].append(f"{folder.name}/head_{k + 1}.onnx")
        names["shared"].append(_among_tensors(features, held))
        names["earlier"].append(len(given) == 2)
    return {key: own for key, own in names.items() if key in ("stages", "heads") or any(own)}


def _among_tensors(features: Structure, shared: Collection[int]) -> list[int]:
    """Positions among a structure's tensors of leaves at the positions ``shared``."""
    leaves, _ = flatten(features)
    positions = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    return [number for number, position in enumerate(positions) if position in shared]


class _Flat(nn.Module):
    """A stage or head as a function of tensors, and of nothing nested."""

    def __init__(self, module: nn.Module, given: tuple[Structure, ...]) -> None:
        super().__init__()
        self.module = module
        self.leaves, self.spec = flatten(given)

    def forward(self, *given: torch.Tensor) -> Any:
        own = iter(given)
        leaves = [next(own) if isinstance(x, torch.Tensor) else x for x in self.leaves]
        found = self.module(*unflatten(leaves, self.spec))
        return found if isinstance(found, torch.Tensor) else tuple(tensors(found))


def _export(
    module: nn.Module, given: tuple[Structure, ...], shared: Collection[int], path: Path
) -> None:
    """Write a stage or head; ``shared`` leaves of the first of its arguments have no batch."""
    leaves, _ = flatten(given)
    # The features come first, so their positions are those among all leaves.
    batched = [i not in shared for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    arguments = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    plain = len(given) == 1 and isinstance(given[0], torch.Tensor)
    with torch.inference_mode():
        outputs = tensors(module(*given))
    batch = torch.export.Dim("batch")
    dynamic = tuple({0: batch} if own else {} for own in batched)
    try:
        with _quiet():
            program = torch.onnx.export(
                module if plain and len(outputs) == 1 else _Flat(module, given),
                tuple(arguments),
                dynamo=True,
                dynamic_shapes=dynamic if plain and len(outputs) == 1 else (dynamic,),
                input_names=_numbered("input", len(arguments)),
                output_names=_numbered("output", len(outputs)),
                opset_version=OPSET,
                verbose=False,
            )
    # The exporter raises many types for an operator that ONNX lacks.
    except Exception as error:
        raise InputError(
            f"export: {path.stem} cannot be written as ONNX ({reason_of(error)})",
            "use operators that ONNX has, with a batch of any size",
        ) from error
    model = rewritten(_plain(program.model_proto))
    _check_batch(model, batched, path, len(arguments[0]))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_{number}" for number in range(1, count + 1)]


def _check_batch(model: onnx.ModelProto, batched: list[bool], path: Path, count: int) -> None:
    """Refuse a graph that takes batches of one size only."""
    names = _numbered("input", len(batched))
    own = {name for name, is_batched in zip(names, batched, strict=True) if is_batched}
    for given in model.graph.input:
        if given.name in own and not given.type.tensor_type.shape.dim[0].dim_param:
            raise InputError(
                f"export: {path.stem} would take batches of {count} only: its forward converts"
                " the batch size to a number",
                "use x.shape[0] in place of len(x) or int(...)",
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's logs, warnings and output in the block."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        output = io.StringIO()
        with warnings.catch_warnings(), redirect_stdout(output), redirect_stderr(output):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without notes on where an operator came from: they name paths of this machine."""
    model.doc_string = ""
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.initializer,
        *graph.value_info,
        *graph.input,
        *graph.output,
    ):
        part.doc_string = ""
        del part.metadata_props[:]
    return model
