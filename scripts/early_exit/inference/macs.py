"""Multiply-accumulates of a module, and reasons why the count may be too low.

Counted: convolutions, matrix products, attention, recurrent layers, bilinear layers, distances
between vectors. They are counted as dense: padding and masks save nothing. Not counted, as they
cost at most a few operations per element: biases, activations, gates, normalisation, pooling,
softmax, interpolation, embedding lookups.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

# Modules whose weights are looked up or scale single elements, however many axes they have.
CHEAP = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.Embedding,
    nn.EmbeddingBag,
    nn.PReLU,
)
# Operations that read features and weights but multiply no matrix. Pointwise operations, and those
# that read weights alone, are handled apart.
HARMLESS = {
    "_embedding_bag", "_embedding_bag_forward_only", "_fused_rms_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "_prelu_kernel", "_unsafe_index", "cat", "copy_",
    "cudnn_batch_norm", "embedding", "gather", "index", "index_put", "index_put_", "index_select",
    "miopen_batch_norm", "native_batch_norm", "native_group_norm", "native_layer_norm",
    "scatter", "scatter_", "stack", "where",
}  # fmt: skip
OWN = ("aten", "prim", "prims")


class Counted(NamedTuple):
    """MACs of a module, and reasons why they may be too low: a phrase each, or none."""

    macs: int
    doubts: list[str]


@torch.no_grad()
def counted(module: nn.Module, *inputs: torch.Tensor) -> Counted:
    """Multiply-accumulates of ``module`` on ``inputs``, and doubts about them.

    The module runs once, with PyTorch's fused attention off: the counter cannot see into it.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_formulas(), skip_unsupported=True)
    weights = dict(_weights(module))
    watcher = _Watcher(set(counter.flop_registry), module, weights)
    with _called(module) as called, _unfused(), warnings.catch_warnings():
        # The counter warns about operations that are reported as doubts here.
        warnings.simplefilter("ignore")
        with watcher, counter:
            module(*inputs)
    # The counter counts a multiplication and an addition as two.
    macs = counter.get_total_flops() // 2
    doubts = [*watcher.doubts]
    for operation in counter.get_unsupported_ops():
        doubts.append(f"{operation} is an operation that the counter cannot look into")
    unread = [name for name in weights if name not in watcher.read]
    doubts += [
        f"{name} is used by no operation of PyTorch that can be seen"
        for name in unread
        if _user(module, name) in called
    ]
    if weights and not macs and not doubts:
        doubts.append(f"it has weights ({next(iter(weights))}), but multiplies no matrix by them")
    return Counted(macs, doubts)


def _weights(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and values of the parameters that could be matrices."""
    for name, part in module.named_modules():
        if isinstance(part, CHEAP):
            continue
        for own, value in part.named_parameters(name, recurse=False):
            if sum(length > 1 for length in value.shape) > 1:
                yield own, value


def _user(module: nn.Module, name: str) -> str:
    """Name of the module whose forward uses a parameter; parameter lists have no forward."""
    name = name.rpartition(".")[0]
    while isinstance(module.get_submodule(name), nn.ParameterList | nn.ParameterDict) and name:
        name = name.rpartition(".")[0]
    return name


@contextmanager
def _called(module: nn.Module) -> Iterator[set[str]]:
    """Names of the modules that are called in the block."""
    called: set[str] = set()

    def noting(name: str) -> Callable[..., None]:
        return lambda *_: called.add(name)

    parts = [(n, p) for n, p in module.named_modules() if not isinstance(p, torch.jit.ScriptModule)]
    hooks = [part.register_forward_pre_hook(noting(name)) for name, part in parts]
    try:
        yield called
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _unfused() -> Iterator[None]:
    """Disable fused attention in the block."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Watcher(TorchDispatchMode):
    """Watches every operation, and notes those that may hide a matrix product.

    Attributes
    ----------
    doubts
        A phrase for each such operation; a dictionary, to keep their order.
    read
        Names of the weights that some operation has read.
    """

    def __init__(
        self, known: set[Any], module: nn.Module, weights: dict[str, torch.Tensor]
    ) -> None:
        super().__init__()
        self.known = known
        self.doubts: dict[str, None] = {}
        self.read: set[str] = set()
        # Tensors that belong to the module or are computed from such alone, by storage address, so
        # that a transpose is recognised, too; with a name if they could be matrices. They are kept
        # alive, or their addresses would be used again.
        self.names: dict[int, str | None] = {}
        self.kept: list[torch.Tensor] = []
        for name, value in weights.items():
            self._mark(value, name)
        for value in (*module.parameters(), *module.buffers()):
            self._mark(value, None)

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = operation(*args, **kwargs)
        self._look(operation, _tensors((args, kwargs)), _tensors(result))
        return result

    def _look(self, operation: Any, given: list[torch.Tensor], result: list[torch.Tensor]) -> None:
        addresses = [_address(tensor) for tensor in given]
        names = [self.names[address] for address in addresses if self.names.get(address)]
        if not operation.is_view:
            self.read.update(names)
        packet = operation._overloadpacket
        if packet in self.known:
            return
        features = any(
            tensor.is_floating_point() and address not in self.names
            for tensor, address in zip(given, addresses, strict=True)
        )
        if operation.namespace not in OWN:
            if features or names:
                self._doubt(operation, names)
        elif addresses and not features:
            for tensor in result:
                self._mark(tensor, names[0] if names else None)
        elif names and _may_multiply(operation, given, result):
            self._doubt(operation, names)

    def _doubt(self, operation: Any, names: list[str]) -> None:
        reads = f", and reads {names[0]}" if names else ""
        self.doubts[f"{operation._overloadpacket} is an operation that is not counted{reads}"] = (
            None
        )

    def _mark(self, tensor: torch.Tensor, name: str | None) -> None:
        address = _address(tensor)
        if address is not None:
            self.names.setdefault(address, name)
            self.kept.append(tensor)


def _may_multiply(operation: Any, given: list[torch.Tensor], result: list[torch.Tensor]) -> bool:
    """Whether an operation on features and weights may be a product of matrices."""
    if torch.Tag.pointwise in operation.tags:
        # A result larger than its inputs pairs rows with rows: a matrix product but for the sum.
        largest = max(tensor.numel() for tensor in given)
        return any(tensor.numel() > largest for tensor in result)
    return operation._overloadpacket.__name__ not in HARMLESS


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _address(tensor: torch.Tensor) -> int | None:
    """Address of the storage, the same for all views of it; ``None`` where there is none."""
    if tensor.layout != torch.strided or not tensor.numel():
        return None
    return tensor.untyped_storage().data_ptr() or None


def _formulas() -> dict[Any, Callable[..., int]]:
    """Formulas that PyTorch's counter lacks, by operation, where this PyTorch has it."""
    found = {}
    for name, formula in FORMULAS.items():
        namespace, _, operation = name.partition(".")
        packet = getattr(getattr(torch.ops, namespace), operation, None)
        if packet is not None:
            found[packet] = _twice(formula)
    return found


def _twice(formula: Callable[..., int]) -> Callable[..., int]:
    """The formula in the counter's unit: a multiplication and an addition are two."""
    return lambda *shapes, **named: 2 * formula(*shapes, **named)


def _recurrent(given: Sequence[int], weights: Sequence[Sequence[int]]) -> int:
    """MACs of a recurrent layer: all matrices once, for each step of each sample."""
    return prod(given[:-1]) * sum(prod(shape) for shape in weights if len(shape) > 1)


# Each takes the shapes of an operation's arguments, and `out_shape`, and returns its MACs.
FORMULAS: dict[str, Callable[..., int]] = {
    "aten.mv": lambda matrix, *_, **__: prod(matrix),
    "aten.addmv": lambda _, matrix, *__, **___: prod(matrix),
    "aten.dot": lambda vector, *_, **__: prod(vector),
    "aten.vdot": lambda vector, *_, **__: prod(vector),
    "aten.addr": lambda matrix, *_, out_shape, **__: prod(out_shape),
    "aten.addbmm": lambda _, a, b, *__, **___: prod(a) * b[2],
    "aten._int_mm": lambda a, b, *_, **__: prod(a) * b[1],
    "aten._addmm_activation": lambda _, a, b, *__, **___: prod(a) * b[1],
    "aten.conv_tbc": lambda _, weight, *__, out_shape, **___: prod(out_shape[:2]) * prod(weight),
    # One per weight and row; the product of the two inputs counts as one input.
    "aten._trilinear": lambda _, weight, *__, out_shape, **___: prod(out_shape) * prod(weight[1:]),
    "aten._cdist_forward": lambda a, b, *_, **__: prod(a) * b[-2],
    "aten._euclidean_dist": lambda a, b, *_, **__: prod(a) * b[-2],
    "aten.mkldnn_rnn_layer": lambda given, first, second, *_, **__: _recurrent(
        given, [first, second]
    ),
    "aten._cudnn_rnn": lambda given, weights, *_, **__: _recurrent(given, weights),
    "aten.miopen_rnn": lambda given, weights, *_, **__: _recurrent(given, weights),
    "torchvision.deform_conv2d": lambda given, weight, *_, out_shape, **__: (
        given[0] * prod(out_shape[2:]) * prod(weight)
    ),
    "quantized.linear_dynamic": lambda given, *_, out_shape, **__: prod(given) * out_shape[-1],
    "quantized.linear": lambda given, *_, out_shape, **__: prod(given) * out_shape[-1],
}
