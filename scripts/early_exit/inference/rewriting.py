"""Graphs rewritten for runtimes: the same function but for rounding, in faster operators.

The blocks of this project's networks pool before normalisation and activation, which in training
then run on a quarter of the positions. A runtime does better the other way round: it folds a
normalisation into the convolution before it and clips what that convolution writes, both at no
cost; in int8 everything between stays in int8. A pooling of all positions is
faster than a reduction of axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnxscript import ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase, RewriteRuleSet, rewrite
from onnxscript.rewriter.rules.common import fuse_batchnorm_into_conv_rule

POOLED = "pooled"


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in faster operators."""
    return rewrite(model, RULES)


class _PoolLast(RewriteRuleClassBase):
    """An operator that keeps the order of a channel's numbers runs before a max-pooling.

    The largest of its results is its result for the largest.
    """

    def check(self, context: Any, pooled: ir.Value, **_: ir.Value) -> MatchResult:
        """Only where the pooling returns no indices, and nobody else takes what it returns."""
        found = MatchResult()
        own = pooled.producer()
        if len(own.outputs) > 1 or len(pooled.uses()) > 1 or pooled.is_graph_output():
            found.fail("what is pooled is used elsewhere, too")
        return found

    @staticmethod
    def again(op: Any, x: ir.Value, pooled: ir.Value) -> ir.Value:
        """The pooling, of something else."""
        return op.MaxPool(x, **pooled.producer().attributes)


class _NormaliseFirst(_PoolLast):
    """``BatchNormalization(MaxPool(x))`` as ``MaxPool(BatchNormalization(x))``."""

    def pattern(self, op: Any, x: ir.Value) -> ir.Value:
        """What is replaced."""
        pooled = op.MaxPool(x, _outputs=[POOLED])
        return op.BatchNormalization(pooled, _allow_other_inputs=True, _outputs=["normalised"])

    def check(
        self, context: Any, x: ir.Value, pooled: ir.Value, normalised: ir.Value
    ) -> MatchResult:
        """Only after a convolution, which takes it in, and with no scale below 0."""
        found = super().check(context, pooled)
        before = x.producer()
        scale = normalised.producer().inputs[1].const_value
        if before is None or before.op_type != "Conv" or len(x.uses()) > 1:
            found.fail("no convolution before the pooling")
        if scale is None or (scale.numpy() < 0).any():
            found.fail("a scale below 0 turns the order round")
        return found

    def rewrite(self, op: Any, x: ir.Value, pooled: ir.Value, normalised: ir.Value) -> ir.Value:
        """What replaces it."""
        own = normalised.producer()
        return self.again(op, op.BatchNormalization(x, *own.inputs[1:], **own.attributes), pooled)


class _ActivateFirst(_PoolLast):
    """``Relu(MaxPool(x))`` as ``MaxPool(Relu(x))``."""

    def pattern(self, op: Any, x: ir.Value) -> ir.Value:
        """What is replaced."""
        return op.Relu(op.MaxPool(x, _outputs=[POOLED]))

    def rewrite(self, op: Any, x: ir.Value, pooled: ir.Value) -> ir.Value:
        """What replaces it."""
        return self.again(op, op.Relu(x), pooled)


class _AllPositions(RewriteRuleClassBase):
    """A reduction over all axes but batch and channels as a pooling of all positions."""

    def __init__(self, reduction: str, operator: str) -> None:
        super().__init__(name=operator)
        self.reduction, self.operator = reduction, operator

    def pattern(self, op: Any, x: ir.Value, axes: ir.Value) -> ir.Value:
        """What is replaced."""
        return getattr(op, self.reduction)(x, axes, _outputs=["reduced"])

    def check(self, context: Any, x: ir.Value, axes: ir.Value, **_: ir.Value) -> MatchResult:
        """Only where features have three axes or more, and all from the third on are reduced."""
        found = MatchResult()
        rank = None if x.shape is None else len(x.shape)
        own = None if axes.const_value is None else axes.const_value.numpy()
        if rank is None or rank < 3 or own is None:
            return found.fail("shape or axes are not known")
        if not all(isinstance(size, int) for size in x.shape[2:]):
            return found.fail("the number of positions is not known")
        if sorted(np.ravel(own) % rank) != list(range(2, rank)):
            return found.fail("not over all positions")
        return found

    def rewrite(self, op: Any, x: ir.Value, axes: ir.Value, reduced: ir.Value) -> ir.Value:
        """What replaces it."""
        # Kernels of a size that is known are faster than the operators for all positions.
        found = getattr(op, self.operator)(x, kernel_shape=list(x.shape[2:]))
        keepdims = reduced.producer().attributes.get_int("keepdims", 1)
        return found if keepdims else op.Flatten(found, axis=1)


RULES = RewriteRuleSet(
    [
        _NormaliseFirst.rule(),
        fuse_batchnorm_into_conv_rule,
        _ActivateFirst.rule(),
        _AllPositions.rule("ReduceMean", "AveragePool"),
        _AllPositions.rule("ReduceMax", "MaxPool"),
    ]
)
