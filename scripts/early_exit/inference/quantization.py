"""Graphs in int8: static quantization of each stage and each head, from samples of the train split.

Weights are quantized per channel, activations per tensor, by onnxruntime's quantizer; its format of
quantized operators (QDQ) is read by OpenVINO, too. A part that costs more accuracy than is allowed
stays in fp32. The loss is measured with onnxruntime.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from early_exit.inference.backends.engine import GraphEngine
from early_exit.inference.backends.graph_file import FOLDER, read_graphs_file
from early_exit.inference.backends.network import GraphNetwork
from early_exit.inference.backends.onnxruntime import Graph
from early_exit.inference.exits import outputs_of
from early_exit.inference.handover import hand_over_integers
from early_exit.inference.rounding import with_balanced_weights
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import callable_head, takes_earlier
from early_exit.structures.tree import Structure, tensors

LOGGER = logging.getLogger(__name__)
BATCH = 50
# Normalisation that no convolution has taken in, and what needs the digits.
IN_FP32 = ("BatchNormalization", "InstanceNormalization", "LayerNormalization", "Softmax")
# What returns logits: in 256 steps their differences would be coarse, and samples equally sure.
LINEAR = ("Gemm", "MatMul")
# 0 to 255 for activations, as VNNI multiplies them with signed weights.
TYPES = {
    "activation_type": quantization.QuantType.QUInt8,
    "weight_type": quantization.QuantType.QInt8,
}
KINDS = ("stages", "heads")


@dataclass(frozen=True)
class Samples:
    """Samples of the train split, as the data set has them.

    Attributes
    ----------
    calibration
        Those on which the ranges of activations are found.
    held_out, labels
        Others, on which the loss of accuracy is measured, with their classes.
    """

    calibration: Structure
    held_out: Structure
    labels: np.ndarray


def quantize(
    network: MultiExitNetwork,
    engine: GraphEngine,
    given: Samples,
    max_drop: float,
    folder: Path,
) -> dict[str, Any]:
    """Write the graphs to ``folder``; returns what the list of them notes.

    All parts are quantized. While the accuracy of an exit drops by more than ``max_drop``, the part
    that loses most on its own stays in fp32.

    Parameters
    ----------
    network
        The network under torch.
    engine
        That of onnxruntime, with the graphs in fp32.

    Returns
    -------
    dict
        As the list of graphs in fp32, and ``quantized`` and ``fp32``, the names of parts;
        ``accuracy_fp32`` and ``accuracy`` of each exit on the held-out samples, and ``alone``: how
        much each part loses on its own, where it was measured.
    """
    with tempfile.TemporaryDirectory() as scratch:
        parts = _Parts(network.eval().cpu().float(), engine, Path(scratch))
        parts.quantize(list(engine.batches(given.calibration, BATCH, "quantization")))
        reference = parts.accuracies((), given)
        chosen, reached, alone = _within(
            list(parts.exact), lambda own: parts.accuracies(own, given), reference, max_drop
        )
        parts.write(chosen, folder)
    content, exact = parts.content, parts.exact
    names = {key: content[key] for key in content if key not in ("files", "identity", "checksum")}
    return names | {
        "quantized": [_part(name) for name in exact if name in chosen],
        "fp32": [_part(name) for name in exact if name not in chosen],
        "accuracy_fp32": reference.tolist(),
        "accuracy": reached.tolist(),
        "alone": {_part(name): lost for name, lost in alone.items()},
        "quantizer": f"onnxruntime {onnxruntime.__version__}",
    }


class _Parts:
    """Stages and heads in fp32, which the engine has, and quantized, in the folder ``scratch``."""

    def __init__(self, network: MultiExitNetwork, engine: GraphEngine, scratch: Path) -> None:
        self.network, self.engine, self.scratch = network, engine, scratch
        self.content = read_graphs_file(engine.graphs)
        names = (name for kind in KINDS for name in self.content[kind])
        self.exact = {name: engine.graphs.parent / name for name in names}
        self.quantized = {name: self._folder("quantized") / name for name in self.exact}

    def quantize(self, batches: list[Structure]) -> None:
        """Quantize each, with ranges from these batches."""
        for name, arrays in _arguments(self.network, self.content, batches):
            is_head = name in self.content["heads"]
            _quantize_part(self.exact[name], self.quantized[name], arrays, is_head)

    def write(self, chosen: Collection[str], folder: Path) -> list[list[Path]]:
        """Write all to a folder, the chosen ones in int8; returns the files of each kind."""
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        for name, path in self.exact.items():
            shutil.copyfile(self.quantized[name] if name in chosen else path, folder / name)
        files = [[folder / name for name in self.content[kind]] for kind in KINDS]
        hand_over_integers(*files)
        return files

    def accuracies(self, chosen: Collection[str], given: Samples) -> np.ndarray:
        """Accuracy of each exit on the held-out samples, the chosen parts in int8, as they run."""
        own = GraphNetwork(
            self.network,
            self.engine.spec,
            *self.write(chosen, self._folder("tried")),
            lambda _, model: Graph(model, "int8", self.engine.threads),
        )
        found = outputs_of(own, self.engine.batches(given.held_out, BATCH, "held out"))
        return (found.logits.argmax(axis=2) == given.labels[:, None]).mean(axis=0)

    def _folder(self, name: str) -> Path:
        folder = self.scratch / name
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        return folder


def _within(
    parts: list[str],
    accuracies: Callable[[Collection[str]], np.ndarray],
    reference: np.ndarray,
    max_drop: float,
) -> tuple[list[str], np.ndarray, dict[str, float]]:
    """The parts to quantize, the accuracies with them, and what each loses alone, if measured."""
    chosen, alone = list(parts), {}
    reached = accuracies(chosen)
    # A share of a count: equal ones may differ in their last digit.
    while chosen and (reference - reached).max() > max_drop + 1e-9:
        if not alone:
            alone = {part: float((reference - accuracies([part])).max()) for part in parts}
        worst = max(chosen, key=alone.__getitem__)
        chosen.remove(worst)
        LOGGER.info("%s stays in fp32: alone it loses %.4f", _part(worst), alone[worst])
        reached = accuracies(chosen)
    LOGGER.info("Quantized: %s", ", ".join(map(_part, chosen)) or "nothing")
    return chosen, reached, alone


def _part(name: str) -> str:
    """A part's name, such as ``stage_1``, of that of its graph."""
    return Path(name).stem


@torch.inference_mode()
def _arguments(
    network: MultiExitNetwork, content: dict[str, Any], batches: list[Structure]
) -> Iterator[tuple[str, list[list[torch.Tensor]]]]:
    """Yield the name of each graph with what it takes, for each batch."""
    features, earlier = batches, [[] for _ in batches]
    parts = zip(network.stages, network.heads, content["stages"], content["heads"], strict=True)
    for stage, head, stage_name, head_name in parts:
        yield stage_name, [tensors(one) for one in features]
        features = [stage(one) for one in features]
        more = earlier if takes_earlier(head) else [[] for _ in batches]
        pairs = list(zip(features, more, strict=True))
        yield head_name, [[*tensors(one), *logits] for one, logits in pairs]
        for one, logits in zip(features, earlier, strict=True):
            logits.append(callable_head(head)(one, logits).logits)


def _quantize_part(
    source: Path, target: Path, batches: list[list[torch.Tensor]], is_head: bool
) -> None:
    """Write a quantized graph; ``batches`` are what it takes."""
    with tempfile.TemporaryDirectory() as scratch:
        simplified = Path(scratch) / source.name
        # Folds normalisation into convolutions. ONNX's own inference of shapes is enough.
        quant_pre_process(str(source), str(simplified), skip_symbolic_shape=True)
        model = with_balanced_weights(onnx.load(simplified))
        onnx.save(model, simplified)
        quantization.quantize_static(
            str(simplified),
            str(target),
            _Reader(source, batches),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            op_types_to_quantize=_operators(model),
            nodes_to_exclude=_means(model),
            extra_options={"OpTypesToExcludeOutputQuantization": [*LINEAR]} if is_head else None,
            **TYPES,
        )


def _operators(model: onnx.ModelProto) -> list[str]:
    """Types of a graph's operators, but for those that stay in fp32."""
    return sorted({node.op_type for node in model.graph.node} - {*IN_FP32})


def _means(model: onnx.ModelProto) -> list[str]:
    """Names of what makes a mean of all positions.

    It is much smaller than what it is made of, whose scale the quantizer would give it.
    """
    sizes = {
        one.name: [axis.dim_value for axis in one.type.tensor_type.shape.dim[2:]]
        for one in (*model.graph.value_info, *model.graph.output)
    }
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "AveragePool" and set(sizes.get(node.output[0], ())) == {1}
    ]


class _Reader(quantization.CalibrationDataReader):
    """Hands batches to the quantizer, by the names of the graph's inputs."""

    def __init__(self, path: Path, batches: list[list[torch.Tensor]]) -> None:
        graph = Graph(path.read_bytes(), "fp32", 1)
        names = [name for name, _ in graph.inputs]
        self.batches = iter(
            {
                name: np.ascontiguousarray(one.numpy())
                for name, one in zip(names, graph.chosen(given), strict=True)
            }
            for given in batches
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or ``None``."""
        return next(self.batches, None)
