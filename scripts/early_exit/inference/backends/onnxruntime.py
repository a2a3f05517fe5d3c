"""Graphs run by onnxruntime, on the memory of torch's tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime
import torch

from early_exit.inference.backends.tensors import (
    DTYPES,
    FromNumbers,
    Sizes,
    first_batched,
    with_batch,
)

NUMPY = {
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
}
# Warnings of the library concern those who make graphs.
ERRORS = 3


class Graph:
    """A graph as a function of tensors, without copies of inputs, or of outputs of known shape.

    Parameters
    ----------
    model
        The ONNX file's content.
    precision
        Ignored: the graph itself is in fp32, or quantized.
    threads
        Threads within an operator.
    in_a_row
        Whether calls mostly follow each other, with nothing else to compute between them.
    """

    def __init__(self, model: bytes, precision: str, threads: int, in_a_row: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = ERRORS
        # Each graph has threads of its own. Between operators they wait in a loop, which is faster;
        # after a call they sleep, since they would slow others down, unless the next call is near.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", str(int(not in_a_row)))
        # All weights are in the graph's file; others, which nothing checks, are not read.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", os.devnull
        )
        self.session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        inputs = self.session.get_inputs()
        self.inputs = [(one.name, NUMPY[one.type]) for one in inputs]
        self.chosen = FromNumbers([one.name for one in inputs])
        # Position of an argument that has the batch.
        self.batched = first_batched([_is_batched(one.shape) for one in inputs])
        self.outputs = [
            (one.name, NUMPY[one.type], _sizes(one.shape)) for one in self.session.get_outputs()
        ]

    def __call__(self, given: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Outputs of the graph for tensors in the order of the part's arguments."""
        # Named, so that the memory is there while the graph runs.
        arguments = [one.contiguous() for one in self.chosen(given)]
        found = self._bind(self.binding, arguments)
        self.session.run_with_iobinding(self.binding)
        if all(one is not None for one in found):
            return found
        copied = self.binding.copy_outputs_to_cpu()
        pairs = zip(found, copied, strict=True)
        return [torch.from_numpy(own) if one is None else one for one, own in pairs]

    def on_memory(self, given: Sequence[torch.Tensor]) -> Callable[[], list[torch.Tensor]]:
        """A call on what contiguous tensors hold by then; it returns the same tensors each time.

        Only for outputs whose shapes are known. Handing over memory takes as long as a small layer.
        """
        binding, arguments = self.session.io_binding(), list(self.chosen(given))
        found = self._bind(binding, arguments)

        def run(_memory: Sequence[torch.Tensor] = arguments) -> list[torch.Tensor]:
            self.session.run_with_iobinding(binding)
            return found

        return run

    def _bind(
        self, binding: onnxruntime.IOBinding, arguments: Sequence[torch.Tensor]
    ) -> list[torch.Tensor | None]:
        """Hand over memory of inputs, and of outputs of known shape, which are returned."""
        for (name, dtype), one in zip(self.inputs, arguments, strict=True):
            binding.bind_input(name, "cpu", 0, dtype, tuple(one.shape), one.data_ptr())
        count = None if self.batched is None else len(arguments[self.batched])
        found: list[torch.Tensor | None] = []
        for name, dtype, sizes in self.outputs:
            shape = with_batch(sizes, count)
            if shape is None:
                binding.bind_output(name, "cpu")
                found.append(None)
                continue
            own = torch.empty(shape, dtype=DTYPES[np.dtype(dtype)])
            binding.bind_output(name, "cpu", 0, dtype, shape, own.data_ptr())
            found.append(own)
        return found


def _is_batched(shape: Sequence[int | str | None]) -> bool:
    """Whether the first axis is the batch, whose length is not known."""
    return bool(shape) and not isinstance(shape[0], int)


def _sizes(shape: Sequence[int | str | None]) -> Sizes:
    """Sizes of the axes, the batch as ``None``; or ``None`` if another one is not known."""
    if not all(isinstance(one, int) for one in shape[1:]):
        return None
    return (None, *shape[1:]) if _is_batched(shape) else tuple(shape)
