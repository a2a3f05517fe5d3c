"""Exits for a backbone: one of torchvision, timm or transformers, or another that can be traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import fx, nn

from early_exit.errors import InputError, reason_of
from early_exit.networks import MultiExitNetwork
from early_exit.networks.axes import axes_seen, channel_axis
from early_exit.networks.cutting import Cutting
from early_exit.networks.example import BATCHES, Example, Inputs, called, logits_of
from early_exit.networks.naming import names_after
from early_exit.networks.small_heads import (
    FEATURES,
    MASKS,
    Features,
    MaskedMean,
    fitting,
    head_of_kind,
    kind_of,
    small_head,
    usual_axis,
)
from early_exit.networks.tracing import by_export, by_fx

Head = Callable[[torch.Size, int], nn.Module]
# How a backbone is followed, in the order in which it is tried.
FOLLOWED = {"traced by torch.fx": by_fx, "exported by torch.export": by_export}
OTHERWISE = "write a class with stages and heads instead"


class WithExits(MultiExitNetwork):
    """A backbone cut into stages. It also loads weights under the backbone's own names.

    Attributes
    ----------
    unused
        Names of the backbone's weights that no logits depend on, such as those of an auxiliary
        classifier.
    """

    def __init__(
        self, stages: list[nn.Module], heads: list[nn.Module], known: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.heads = nn.ModuleList(heads)
        parts = {f"stages.{k}": stage for k, stage in enumerate(stages)}
        parts[f"heads.{len(heads) - 1}"] = heads[-1]
        self.names = {
            key: f"{prefix}.{key}" for prefix, part in parts.items() for key in part.state_dict()
        }
        self.unused = frozenset(known) - self.names.keys()

    def rename(self, key: str) -> str:
        """The name here of a parameter of the backbone's own state dict."""
        return self.names.get(key, key)


def with_exits(
    backbone: nn.Module,
    after: Sequence[str] | str,
    classes: int,
    shape: Sequence[int] | None = None,
    head: Head | str = small_head,
    inputs: Inputs | None = None,
) -> MultiExitNetwork:
    """Cut a backbone into K stages, each but the last with a new, small head.

    The final exit is the backbone itself: its head is all that follows the last stage, so its
    logits equal the backbone's to the last bit. This is checked on the example inputs, in batches
    of one, two and three samples.

    A value that is used after a later cut, such as a mask or a table of positions, is carried
    along: a stage then hands on a dict with its ``features`` and the values carried, and heads take
    the features.

    What torch.fx cannot follow is exported by torch.export; then, and where sizes are used after a
    later cut, the network takes samples of the example's shape only. Either way the backbone is
    followed as in evaluation mode. Modules without a cut inside are called as they are: what they
    do in training mode, such as dropout, they do.

    Parameters
    ----------
    backbone
        A network such as ``torchvision.models.resnet18()`` or a transformers classifier, which
        returns one tensor or an output with ``logits``. Other arguments of its ``forward`` keep
        their defaults. Its modules are used, not copied.
    after
        Names of K of its modules, in the order in which they run, such as ``["layer1", "layer2",
        "layer3", "layer4"]``: a stage ends after each. Names may be dotted (``features.3``). A
        pattern stands for all modules that it matches and that run by themselves, in the order in
        which they run, but one after which nothing follows; ``*`` stands for any part of a name
        without dots, and the beginning of names may be left out (``encoder.layer.*``).
    classes
        Number of classes of the data, and of the backbone's own classifier.
    shape
        Shape of a sample, for inputs that are one tensor of floating-point numbers: for an image
        its channels, height and width.
    head
        The kind of new heads, each a mean and a linear layer: ``pooled`` for features (N, channels,
        height, width), ``tokens`` (N, tokens, channels), ``channels_last`` (N, height, width,
        channels), ``sequence`` (N, channels, T), or ``flat`` without a mean. If the inputs have an
        ``attention_mask`` or ``mask``, ``tokens`` and ``sequence`` average over the positions where
        it is not 0. Or a function that returns a new head for features of a shape (1, ...) and a
        number of classes. The default infers the kind from the features' dimensions, and from the
        stage's layers whether channels are first or last (as in Swin).
    inputs
        In place of ``shape``, example inputs of 2 or more samples: a tensor, a dict of tensors,
        which are arguments of the backbone by name, or a tuple of them, by position.

    Raises
    ------
    InputError
        If the backbone cannot be cut there, or its logits change when it is cut.
    """
    example = Example(shape, inputs)
    names = names_after(after, backbone)
    masks = _masks(head, example)
    backbone.eval()
    kind = type(backbone).__name__
    # The new heads' weights must not depend on what the backbone draws.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        expected = _expected(backbone, example)
        reasons = []
        for how, follow in FOLLOWED.items():
            try:
                cut = Cutting.at(names, backbone, follow(backbone, _flat(names), example), example)
            except InputError:
                raise
            # A forward that depends on its input raises errors of several types.
            except Exception as error:
                reasons.append(f"{how} ({reason_of(error)})")
                continue
            parts = cut.parts(masks)
            problem = _difference(parts, example, expected)
            if problem is None:
                break
            reasons.append(f"{how} ({problem})")
        else:
            raise InputError(f"with_exits: {kind} cannot be {', nor '.join(reasons)}", OTHERWISE)
        *stages, last = parts
        seen = _seen(stages[:-1], example, masks)
    heads = [
        _head(head, found, bool(carried), classes, name)
        for name, found, carried in zip(cut.after, seen, cut.carried(masks), strict=False)
    ]
    return WithExits(stages, [*heads, last], list(backbone.state_dict()))


def _flat(names: dict[str, list[str]]) -> list[str]:
    return [name for found in names.values() for name in found]


def _expected(backbone: nn.Module, example: Example) -> dict[int, torch.Tensor]:
    """The backbone's logits for batches of each size; those for the first are taken twice."""
    kind = type(backbone).__name__
    try:
        found = {
            count: logits_of(called(backbone, example.batch(count))) for count in reversed(BATCHES)
        }
        again = logits_of(called(backbone, example.batch(BATCHES[0])))
    except InputError:
        raise
    # It may be the user's code, which can raise anything.
    except Exception as error:
        raise InputError(
            f"with_exits: {kind} cannot take {example} ({reason_of(error)})"
        ) from error
    if not torch.equal(found[BATCHES[0]].nan_to_num(), again.nan_to_num()):
        raise InputError(
            f"with_exits: {kind} returns other logits for the same images each time; nothing may be"
            " random in evaluation mode"
        )
    return found


def _difference(
    parts: list[fx.GraphModule], example: Example, expected: dict[int, torch.Tensor]
) -> str | None:
    """How the final exit's logits differ from the backbone's own, or ``None``.

    A traced graph lacks what a ``forward`` reads or changes besides its input.
    """
    for count, logits in expected.items():
        found = example.batch(count)
        try:
            for part in parts:
                found = part.eval()(found)
        except Exception as error:
            return f"in a batch of {count}, {reason_of(error)}"
        if not torch.equal(logits.nan_to_num(), found.nan_to_num()):
            same = logits.shape == found.shape
            by = f" by {float((logits - found).abs().max()):.2g}" if same else ""
            return (
                f"the final exit's logits differ{by} from its own: its forward does something that"
                " is not seen, such as changing a tensor in place"
            )
    return None


def _masks(head: Head | str, example: Example) -> list[str]:
    """Inputs that heads average by; a function's heads take features only."""
    named = isinstance(head, str) or head is small_head
    return [key for key in MASKS if named and key in example.keys][:1]


class Seen(NamedTuple):
    """What an exit takes: the features' shape, their channel axis, and key and shape of a mask."""

    features: torch.Size
    axis: int | None
    mask: tuple[str, torch.Size] | None


def _seen(stages: list[fx.GraphModule], example: Example, masks: list[str]) -> list[Seen]:
    """What each exit takes, from a run of the stages."""
    seen: list[Seen] = []
    handed_on = example.batch(2)
    for stage in stages:
        with axes_seen(stage) as axes:
            handed_on = stage(handed_on)
        several = isinstance(handed_on, dict)
        features = handed_on[FEATURES] if several else handed_on
        shape = torch.Size([1, *features.shape[1:]])
        before = seen[-1].axis if seen and len(seen[-1].features) == len(shape) else None
        axis = channel_axis(axes, features.shape, before or usual_axis(shape))
        mask = next(((key, handed_on[key].shape) for key in masks if several), None)
        seen.append(Seen(shape, axis, mask))
    return seen


def _head(head: Head | str, seen: Seen, several: bool, classes: int, name: str) -> nn.Module:
    """A new head after a module; ``several`` is whether its stage hands on more than features."""
    features, axis, mask = seen
    if head is small_head and axis is None:
        raise InputError(
            f"with_exits: features after {name} have shape {list(features[1:])}, and channels may"
            " be its first or last axis",
            f"give with_exits a head for them, one of {', '.join(fitting(features))} or a function",
        )
    if head is not small_head and not isinstance(head, str):
        new = head(features, classes)
    else:
        kind = head if isinstance(head, str) else kind_of(features, axis)
        try:
            new = head_of_kind(kind, features, classes, mask)
        except InputError as error:
            raise InputError(f"with_exits: after {name}: {error.problem}", error.remedy) from error
        if mask and isinstance(new[0], MaskedMean):
            return new
    return nn.Sequential(Features(), new) if several else new
