"""Engine of a network whose parts a runtime other than torch runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from early_exit.config.runtimes import check_pair
from early_exit.errors import BackendError, InputError, reason_of
from early_exit.inference.backends.graph_file import read_graphs_file
from early_exit.inference.backends.network import GraphNetwork
from early_exit.inference.backends.tensors import as_exported
from early_exit.inference.engine import Engine
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import run_heads
from early_exit.structures.inputs import InputSpec
from early_exit.structures.tree import Structure, rows

# Samples of a batch beyond which larger ones are hardly faster.
LARGE = 256
# Made-up samples that a runtime is checked on, and how far its logits may be from those of torch,
# as a share of the largest. What int8 loses is measured where it is made.
CHECKED = 5
FURTHEST = {"fp32": 0.001, "bf16": 0.3}


@dataclass(frozen=True)
class GraphEngine(Engine):
    """:class:`early_exit.inference.engine.Engine` of onnxruntime or OpenVINO, on the CPU.

    Features are contiguous between parts, and in fp32, whatever a graph computes in; but quantized
    parts hand on integers.

    Attributes
    ----------
    precision
        ``fp32``, ``bf16`` or ``int8``, as far as the backend has it.
    backend
        ``onnxruntime`` or ``openvino``.
    graphs
        The list of graphs, ``graphs.json``: of quantized ones for ``int8``.
    spec
        What the network takes.
    threads
        Threads of a graph.

    Raises
    ------
    InputError
        If the backend lacks the precision.
    BackendError
        If it is not installed.
    """

    memory_format: str = "contiguous"
    backend: str = "onnxruntime"
    graphs: Path = Path("graphs.json")
    spec: InputSpec = field(default_factory=InputSpec)
    threads: int = 1

    def __post_init__(self) -> None:
        check_pair(self.backend, self.precision, self.device, "inference")
        self._module()

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of inputs."""
        return torch.float32

    def regroup_size(self, batch_size: int) -> int:
        """As that of torch, but larger: a call of a graph takes longer than one of a layer."""
        return min(batch_size, LARGE)

    def ready(self, network: MultiExitNetwork) -> MultiExitNetwork:
        """The network with a graph in the place of each part; unlike under torch, another object.

        One whose parts are graphs is returned as it is.

        Raises
        ------
        InputError
            If a graph is missing or damaged.
        BackendError
            If the runtime cannot load it, or computes something else than torch.
        """
        if isinstance(network, GraphNetwork):
            return network
        content = read_graphs_file(self.graphs)
        files = {
            kind: [self.graphs.parent / name for name in content[kind]]
            for kind in ("stages", "heads")
        }
        stages, heads = (len(own) for own in files.values())
        if {stages, heads} != {len(network.stages)}:
            raise InputError(
                f"{self.graphs}: graphs of {stages} stages and {heads} heads, the network has"
                f" {len(network.stages)}",
                f"delete {self.graphs} and run again",
            )
        load = partial(self._load, self._module())
        # A graph with the decision in it would decide in bf16.
        decides = self.precision != "bf16"
        made = GraphNetwork(network, self.spec, files["stages"], files["heads"], load, decides)
        if self.precision in FURTHEST:
            self._check(made)
        return made

    @torch.inference_mode()
    def _check(self, made: GraphNetwork) -> None:
        """Refuse a runtime that computes other logits than torch, in a batch or sample by sample.

        Runtimes merge operators, and some do where they must not.
        """
        together = as_exported(self.spec.batch(CHECKED))
        alone = [_logits(made, rows(together, torch.tensor([k]))) for k in range(CHECKED)]
        found = (_logits(made, together), torch.cat(alone))
        for k, expected in enumerate(_logits(made.plain, together).unbind(1)):
            largest = expected.abs().max()
            # Of most samples: a network that chooses may choose otherwise for one after rounding.
            apart = max((own[:, k] - expected).abs().amax(1).median() for own in found)
            if largest.isfinite() and not apart <= FURTHEST[self.precision] * largest:
                raise BackendError(
                    f"{self.graphs}: {self.backend} in {self.precision} computes other logits"
                    f" than torch at exit {k + 1}: {apart:.2g} apart, the largest is {largest:.2g}",
                    "choose another inference.backend",
                )

    def _load(self, module: Any, name: str, model: bytes, in_a_row: bool = False) -> Any:
        try:
            return module.Graph(model, self.precision, self.threads, in_a_row)
        # Each runtime has types of its own.
        except Exception as error:
            raise BackendError(
                f"{self.graphs}: {self.backend} cannot load {name} in {self.precision}"
                f" ({reason_of(error)})",
                "choose another inference.backend",
            ) from error

    def _module(self) -> Any:
        return backend_module(self.backend)


def _logits(network: MultiExitNetwork, inputs: Structure) -> torch.Tensor:
    """Logits of all exits, shape (N, K, C)."""
    return torch.stack([one.logits for one in run_heads(network, inputs)], dim=1)


def backend_module(backend: str) -> Any:
    """The module of a backend.

    Raises
    ------
    BackendError
        If its runtime is not installed.
    """
    # Written out, so that the fingerprint of a job's code has them.
    try:
        if backend == "openvino":
            from early_exit.inference.backends import openvino

            return openvino
        from early_exit.inference.backends import onnxruntime
    except ModuleNotFoundError as error:
        raise BackendError(
            f"inference.backend: {backend} needs {error.name}, which is not installed",
            "run pip install '.[runtime]' in the project's folder, or set it to torch",
        ) from error
    return onnxruntime
