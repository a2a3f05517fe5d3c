"""A backbone with exits put into it: a torchvision network, or another that torch.fx can trace."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import fx, nn

from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork
from early_exit.networks.own import told


class TokenMean(nn.Module):
    """The mean over the tokens of (N, tokens, channels)."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.mean(dim=1)


def small_head(features: torch.Size, classes: int) -> nn.Module:
    """A mean over all places and one linear layer, for features (N, channels, ...).

    Features of three dimensions are taken for tokens, (N, tokens, channels). Where channels come
    last, as in Swin, give :func:`with_exits` a head of your own.
    """
    if len(features) == 4:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features[1], classes))
    if len(features) == 3:
        return nn.Sequential(TokenMean(), nn.Linear(features[2], classes))
    return nn.Sequential(nn.Flatten(), nn.Linear(features[1:].numel(), classes))


class WithExits(MultiExitNetwork):
    """A backbone cut into stages. Weights under the backbone's own names fit it as well."""

    def __init__(self, stages: list[nn.Module], heads: list[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.heads = nn.ModuleList(heads)
        parts = {f"stages.{k}": stage for k, stage in enumerate(stages)}
        parts[f"heads.{len(heads) - 1}"] = heads[-1]
        self.names = {
            key: f"{prefix}.{key}" for prefix, part in parts.items() for key in part.state_dict()
        }

    def rename(self, key: str) -> str:
        """The name here of a parameter of the backbone's own state dict."""
        return self.names.get(key, key)


def with_exits(
    backbone: nn.Module,
    after: Sequence[str],
    classes: int,
    shape: Sequence[int],
    head: Callable[[torch.Size, int], nn.Module] = small_head,
) -> MultiExitNetwork:
    """Cut a backbone into K stages, each but the last with a new, small head.

    The last exit is the backbone as it was: its head is all that comes after the last stage, so its
    logits are the backbone's own, to the last bit.

    Parameters
    ----------
    backbone
        A network of one tensor in and one out, such as ``torchvision.models.resnet18()``. Its
        modules are used, not copied.
    after
        The names of K modules of it in the order in which they run, such as ``["layer1", "layer2",
        "layer3", "layer4"]``: a stage ends after each. Names may be dotted (``features.3``).
    classes
        Classes of the data, which the backbone's own classifier must have, too.
    shape
        Channels, height and width of a picture.
    head
        Gives a new head for features of a shape, (1, ...), and so many classes.

    Raises
    ------
    InputError
        If the backbone cannot be cut there.
    """
    after = list(after)
    graph = _traced(backbone, after)
    ends = _ends(graph, after, backbone)
    for end in ends:
        _keep_features(end, backbone)
    groups = _cut(graph, ends)
    _check_not_shared(groups)
    before = next(node for node in graph.nodes if node.op == "placeholder")
    parts = []
    for nodes in groups:
        parts.append(_part(backbone, nodes, before, after[len(parts) - 1]))
        before = nodes[-1]
    *stages, last = parts
    heads, features = [], torch.zeros(1, *shape)
    with torch.no_grad():
        for stage in stages[:-1]:
            features = stage.eval()(features)
            heads.append(head(features.shape, classes))
    return WithExits(stages, [*heads, last])


class _Tracer(fx.Tracer):
    """Looks only into modules that a stage ends within; all others run as they are."""

    def __init__(self, after: list[str]) -> None:
        super().__init__()
        self.after = after

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return not any(end.startswith(f"{name}.") for end in self.after)


def _traced(backbone: nn.Module, after: list[str]) -> fx.Graph:
    if len(after) < 2:
        raise InputError(f"with_exits: after: {after}, but must name 2 modules at least")
    try:
        graph = _Tracer(after).trace(backbone.eval())
    # What a forward that depends on its input raises is not one type.
    except Exception as error:
        raise InputError(
            f"with_exits: {type(backbone).__name__} cannot be followed by torch.fx ({told(error)});"
            " write a class with stages and heads instead"
        ) from error
    # What nothing is made of, such as an assertion or an auxiliary classifier, belongs to no part.
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)
    return graph


def _ends(graph: fx.Graph, after: list[str], backbone: nn.Module) -> list[fx.Node]:
    """The node that each of the modules ``after`` gives its result in."""
    called = {node.target: node for node in graph.nodes if node.op == "call_module"}
    for name in after:
        if name not in called:
            near = difflib.get_close_matches(name, called, n=1)
            known = [child for child, _ in backbone.named_children()]
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise InputError(f"with_exits: after: {name} is no module that runs by itself; {hint}")
    places = {node: place for place, node in enumerate(graph.nodes)}
    ends = [called[name] for name in after]
    for first, second in pairwise(ends):
        if places[first] >= places[second]:
            raise InputError(
                f"with_exits: after: {second.target} runs before {first.target}; name them in order"
            )
    return ends


def _cut(graph: fx.Graph, ends: list[fx.Node]) -> list[list[fx.Node]]:
    """The nodes of each stage and, last, those of the backbone's own head."""
    groups: list[list[fx.Node]] = [[]]
    for node in graph.nodes:
        if node.op == "output":
            if not isinstance(node.args[0], fx.Node):
                raise InputError("with_exits: the backbone gives more than one tensor")
        elif node.op != "placeholder":
            groups[-1].append(node)
            if node in ends:
                groups.append([])
    if not groups[-1]:
        raise InputError(
            f"with_exits: nothing comes after {ends[-1].target}; the last stage ends before the"
            " backbone's own classifier"
        )
    return groups


def _keep_features(end: fx.Node, backbone: nn.Module) -> None:
    """What follows an exit must not change its features in place: they are the head's, too."""
    for user in list(end.users):
        if "inplace" in user.kwargs:
            user.kwargs = {**user.kwargs, "inplace": False}
        if user.op == "call_module":
            parts = backbone.get_submodule(user.target).modules()
            first = next(part for part in parts if not list(part.children()))
            if getattr(first, "inplace", False):
                first.inplace = False


def _check_not_shared(groups: list[list[fx.Node]]) -> None:
    owner: dict[str, int] = {}
    for number, nodes in enumerate(groups):
        for node in nodes:
            if (
                node.op in ("call_module", "get_attr")
                and owner.setdefault(node.target, number) != number
            ):
                raise InputError(
                    f"with_exits: {node.target} is used on both sides of a cut; cut elsewhere"
                )


def _part(backbone: nn.Module, nodes: list[fx.Node], before: fx.Node, cut: str) -> fx.GraphModule:
    """The part of a backbone that computes the last of ``nodes`` from ``before``."""
    graph = fx.Graph()
    copies = {before: graph.placeholder("features")}
    for node in nodes:
        for needed in node.all_input_nodes:
            if needed not in copies:
                raise InputError(
                    f"with_exits: {node.name} takes {needed.name} past the exit after {cut}; what"
                    " comes behind an exit may take its features only: cut elsewhere"
                )
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[nodes[-1]])
    part = fx.GraphModule(backbone, graph)
    part.graph.lint()
    return part
