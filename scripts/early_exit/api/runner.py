"""Running a network with early exits on tensors in memory. Needs torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from early_exit.errors import InputError, reason_of
from early_exit.policy.policy import Policy

if TYPE_CHECKING:
    import torch

    from early_exit.networks import MultiExitNetwork


class Predictions(NamedTuple):
    """Predictions of a network under a policy for N samples, in their order.

    Attributes
    ----------
    prediction
        Class, shape (N,), int64.
    exit
        Exit taken, from 1, shape (N,), int64.
    uncertainty
        Uncertainty at the exit taken, in the unit of the policy's measure, shape (N,).
    """

    prediction: torch.Tensor
    exit: torch.Tensor
    uncertainty: torch.Tensor


def _described(inputs: Any) -> str:
    """Types and shapes of the arrays, for messages."""
    from early_exit.structures.tree import tensors

    kinds = [f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}" for x in tensors(inputs)]
    return ", ".join(kinds)


def _is_array(one: Any) -> bool:
    """Whether it is one array, which a list of numbers is too."""
    if isinstance(one, list):
        return not any(hasattr(part, "shape") and getattr(part, "ndim", 0) for part in one)
    return not isinstance(one, tuple | dict)


class EarlyExitRunner:
    """Run a network under a policy; later stages do not run for samples that have exited.

    Parameters
    ----------
    network
        A network with ``stages`` and ``heads`` of equal length K
        (:class:`early_exit.networks.MultiExitNetwork`); a stage may hand on any nested structure
        of tensors. It is put into evaluation mode and moved to the device, in place.
    policy
        A policy for K exits.
    device
        ``"cpu"`` or ``"cuda"``.
    precision
        ``"fp32"`` or ``"bf16"``.
    mean, std
        Mean and standard deviation of each channel, which normalise uint8 images after they are
        scaled to [0, 1]. Floating-point images are not changed.

    Raises
    ------
    InputError
        If torch is not installed, the network has no stages and heads, policy and network differ in
        the number of exits, or the device is not available.

    Examples
    --------
    >>> import torch
    >>> from early_exit.networks.build import build_network
    >>> network = build_network("branchynet", classes=10, shape=[3, 32, 32])
    >>> always = {"measure": "entropy", "exit_rule": "below", "thresholds": ["always"] * 5}
    >>> policy = ee.Policy.from_json(always)
    >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    >>> ee.EarlyExitRunner(network, policy)(images).exit
    tensor([1, 1])
    """

    def __init__(
        self,
        network: MultiExitNetwork,
        policy: Policy,
        device: str = "cpu",
        precision: str = "fp32",
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        try:
            from early_exit.inference.engine import PRECISIONS, Engine
            from early_exit.inference.runner import EarlyExitRunner as LibraryRunner
        except ModuleNotFoundError as error:
            raise InputError(
                f"EarlyExitRunner: needs {error.name}, which is not installed", "pip install torch"
            ) from error
        stages, heads = (getattr(network, name, None) for name in ("stages", "heads"))
        if stages is None or heads is None or len(stages) != len(heads):
            raise InputError(
                f"network: {type(network).__name__} has no stages and heads of equal length",
                "see early_exit.networks.MultiExitNetwork",
            )
        if device not in ("cpu", "cuda"):
            raise InputError(f"device: {device!r}; it must be cpu or cuda")
        if precision not in PRECISIONS:
            raise InputError(f"precision: {precision!r}; it must be {' or '.join(PRECISIONS)}")
        self.policy = policy
        self.engine = Engine(device, precision, mean=mean, std=std)
        self._runner = LibraryRunner(network, policy, self.engine)

    def __call__(self, inputs: Any) -> Predictions:
        """Classify samples.

        Parameters
        ----------
        inputs
            What the first stage takes, as tensors or numpy arrays with the batch first: an array,
            or a dictionary or tuple of arrays. Images (N, channels, height, width), uint8, are
            scaled to [0, 1] and normalised; all else is passed on as it is, floating-point numbers
            in the precision of the runner.

        Raises
        ------
        InputError
            If the arrays differ in length, are no numbers, the network cannot take them, or the
            logits are not finite.
        """
        prepared = self._prepared(inputs)
        try:
            prediction, exits, uncertainty = self._runner(prepared)
        except InputError:
            raise
        # The network may be the user's, which can raise anything.
        except Exception as error:
            raise InputError(
                f"inputs: the network cannot take {_described(prepared)} ({reason_of(error)})",
                "give it what its first stage takes",
            ) from error
        return Predictions(prediction, exits + 1, uncertainty)

    def _prepared(self, inputs: Any) -> Any:
        """Inputs as the network takes them."""
        import torch
        from torch.utils import _pytree as pytree

        try:
            found = pytree.tree_map(torch.as_tensor, inputs, is_leaf=_is_array)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"inputs: not arrays of numbers ({error})") from error
        arrays = pytree.tree_leaves(found)
        lengths = {len(one) if one.ndim else None for one in arrays}
        if len(lengths) != 1 or None in lengths:
            shapes = ", ".join(str(tuple(one.shape)) for one in arrays) or "nothing"
            raise InputError(
                f"inputs: shapes {shapes}; the first axis of each array must be the batch, with a"
                " row for each sample"
            )
        images = isinstance(found, torch.Tensor) and found.dtype == torch.uint8 and found.ndim == 4
        return replace(self.engine, images=images).prepare(found)

    def __repr__(self) -> str:
        engine = self.engine
        return f"<EarlyExitRunner on {engine.device} in {engine.precision}: {self.policy}>"
