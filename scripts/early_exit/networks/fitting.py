"""Loading weights into a network: usual renamings are undone, all else is strict."""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path

import torch

from early_exit.errors import InputError, reason_of
from early_exit.networks.base import MultiExitNetwork
from early_exit.networks.state_file import CHECKPOINT, State, advice, in_line, listed, shown

LOGGER = logging.getLogger(__name__)

# Name parts of wrapper modules, at any depth.
WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Auxiliary heads of a backbone, as of Inception and GoogLeNet.
AUXILIARY = re.compile(r"aux", re.IGNORECASE)
# Most nested prefixes of a name.
PREFIXES = 3
# Most names in a remedy.
MOST_SHOWN = 5
START = "start_from"
COUNTER = "num_batches_tracked"


def fit(network: MultiExitNetwork, state: State, path: Path, start: bool = False) -> list[int]:
    """Load weights into a network; renamings are logged.

    Parameters
    ----------
    start
        Whether training starts from them: then complete heads may be missing.

    Returns
    -------
    list of int
        The heads, from 0, that were missing and keep their weights.

    Raises
    ------
    InputError
        If keys, shapes or types are missing, unknown or different.
    """
    expected = network.state_dict(keep_vars=True)
    names, notes = _named(network, list(state.tensors), expected, path)
    notes = [*state.notes, *notes]
    found = {name: state.tensors[key].detach() for name, key in names.items()}
    notes += _leave_out(network, expected, found)
    _fill_aliases(expected, found, path)
    if counters := _counters(expected, found):
        found |= {key: expected[key].detach() for key in counters}
        notes.append(f"without {COUNTER}, as in old files: batches are counted from 0")
    fresh = _fresh_heads(network, expected, found) if start else []
    _check_one_set(expected, found, names, path, START if start else CHECKPOINT)
    _check_names(expected, found, names, f"{in_line(path)}: {_parenthesis(notes)}", start)
    _check_numbers(network, expected, found, path)
    notes += _converted(expected, found)
    if notes:
        LOGGER.info("Weights of %s: %s", path, "; ".join(notes))
    try:
        network.load_state_dict(found)
    # A user's network can raise anything when it is loaded.
    except Exception as error:
        raise InputError(f"{in_line(path)}: cannot be loaded ({reason_of(error)})") from error
    return fresh


def _parenthesis(notes: list[str]) -> str:
    return f"({'; '.join(notes)}) " if notes else ""


def _named(
    network: MultiExitNetwork,
    keys: list[str],
    expected: dict[str, torch.Tensor],
    path: Path,
) -> tuple[dict[str, str], list[str]]:
    """Keys of the file by names of the network, without wrappers; and notes for the log."""
    names, notes = {key: key for key in keys}, []
    if not any(WRAPPERS.search(key) for key in expected):
        names = {key: WRAPPERS.sub("", key) for key in names}
    if names != {key: key for key in keys}:
        notes.append("names of wrappers left out (torch.compile and such)")
    variants = [(names, notes)]
    for _ in range(PREFIXES):
        names, notes = variants[-1]
        prefix = _commonest(list(names.values()))
        if prefix is None:
            break
        # A counter of AveragedModel, not a weight.
        shorter = {k: v.removeprefix(prefix) for k, v in names.items() if v != "n_averaged"}
        variants.append((shorter, [*notes, f"names without {shown(prefix)}"]))
    renamed = [_renamed(network, names, path) for names, _ in variants]
    # The first of the best: no prefix is removed without need.
    known = [len(expected.keys() & set(names.values())) for names in renamed]
    best = known.index(max(known))
    _check_once(renamed[best], path)
    return {name: key for key, name in renamed[best].items()}, variants[best][1]


def _commonest(names: list[str]) -> str | None:
    """The most common prefix of the names, with its dot."""
    counted = Counter(name.partition(".")[0] + "." for name in names if "." in name)
    return counted.most_common(1)[0][0] if counted else None


def _renamed(network: MultiExitNetwork, names: dict[str, str], path: Path) -> dict[str, str]:
    """Names of the network by keys of the file, through ``rename``, which may be user code."""
    try:
        renamed = {key: network.rename(name) for key, name in names.items()}
    except Exception as error:
        raise InputError(
            f"{in_line(path)}: the network's rename fails ({reason_of(error)})"
        ) from error
    strange = [key for key, name in renamed.items() if not isinstance(name, str)]
    if strange:
        raise InputError(
            f"{in_line(path)}: the network's rename returns no string for {shown(strange[0])}"
        )
    return renamed


def _check_once(renamed: dict[str, str], path: Path) -> None:
    owner: dict[str, str] = {}
    for key, name in renamed.items():
        if owner.setdefault(name, key) != key:
            raise InputError(
                f"{in_line(path)}:"
                f" has {shown(owner[name])} and {shown(key)}, which are the same parameter"
                f" of the network ({shown(name)})",
                "remove one of them from the file",
            )


def _leave_out(
    network: MultiExitNetwork, expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]
) -> list[str]:
    """Remove from ``found`` what no logits depend on; notes for the log."""
    unused = getattr(network, "unused", ())
    kinds = {
        "weights that only training uses": lambda key: key in unused,
        "auxiliary heads": AUXILIARY.match,
    }
    notes = []
    for what, is_one in kinds.items():
        left = sorted(key for key in found.keys() - expected.keys() if is_one(key))
        for key in left:
            del found[key]
        if left:
            notes.append(f"{what} left out ({_first(left)})")
    return notes


def _fill_aliases(
    expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor], path: Path
) -> None:
    """Fill in other names of a parameter; those in the file must have equal values."""
    names: dict[int, list[str]] = {}
    for key, value in expected.items():
        names.setdefault(id(value), []).append(key)
    for keys in names.values():
        present = [key for key in keys if key in found]
        for key in present[1:]:
            same = found[key].shape == found[present[0]].shape
            if not (same and torch.equal(found[key], found[present[0]])):
                raise InputError(
                    f"{in_line(path)}:"
                    f" {shown(present[0])} and {shown(key)} differ, but are one parameter of"
                    " the network",
                    "remove one of them from the file",
                )
        found |= {key: found[present[0]] for key in keys if present and key not in found}


def _counters(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> list[str]:
    """Missing counters of batch norm (new in PyTorch 0.4.1) whose statistics are present."""
    statistics = {key: key.removesuffix(COUNTER) + "running_mean" for key in expected}
    return [
        key
        for key in expected.keys() - found.keys()
        if key.endswith(COUNTER) and statistics[key] in found
    ]


def _fresh_heads(
    network: MultiExitNetwork,
    expected: dict[str, torch.Tensor],
    found: dict[str, torch.Tensor],
) -> list[int]:
    """Heads without any weights in the file; they keep their weights."""
    fresh = []
    for k in range(len(network.heads)):
        missing = {key for key in expected if key.startswith(f"heads.{k}.")}
        if missing and not missing & found.keys():
            fresh.append(k)
            found |= {key: expected[key].detach() for key in missing}
    return fresh


def _check_one_set(
    expected: dict[str, torch.Tensor],
    found: dict[str, torch.Tensor],
    names: dict[str, str],
    path: Path,
    setting: str,
) -> None:
    """Refuse a file with the same weights twice, under two beginnings of names."""
    groups: dict[str, set[str]] = {}
    for name in found.keys() & names.keys():
        begin, _, rest = names[name].partition(".")
        # As AveragedModel has them.
        if rest != "n_averaged":
            groups.setdefault(begin, set()).add(rest.removeprefix("module."))
    unknown = {names[name].partition(".")[0] for name in found.keys() - expected.keys()}
    twice = [
        begin
        for begin, rest in groups.items()
        if begin in unknown and any(rest == own for other, own in groups.items() if other != begin)
    ]
    if not twice:
        return
    same = sorted(begin for begin, rest in groups.items() if rest == groups[twice[0]])
    raise InputError(
        f"{in_line(path)}: contains weights more than once ({listed(same)})",
        f"choose, such as {advice(path, same[0], setting)}",
    )


def _converted(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> list[str]:
    """Note on floating-point weights of another type than the network's."""
    pairs = Counter(
        (_dtype(value), _dtype(expected[key]))
        for key, value in found.items()
        if value.dtype != expected[key].dtype and value.is_floating_point()
    )
    return [f"{count} converted from {one} to {other}" for (one, other), count in pairs.items()]


def _check_names(
    expected: dict[str, torch.Tensor],
    found: dict[str, torch.Tensor],
    names: dict[str, str],
    where: str,
    start: bool,
) -> None:
    """Refuse parameters that are missing, unknown or of another shape."""
    missing = sorted(expected.keys() - found.keys())
    unknown = sorted(found.keys() - expected.keys())
    shapes = {key: list(found[key].shape) for key in sorted(expected.keys() & found.keys())}
    other = [key for key, shape in shapes.items() if shape != list(expected[key].shape)]
    sizes = "" if not other else f": {shapes[other[0]]}, not {list(expected[other[0]].shape)}"
    problems = {
        "missing": (missing, ""),
        "unknown": (unknown, ""),
        "of another shape": (other, sizes),
    }
    counted = [f"{len(k)} {what} ({_first(k)}{more})" for what, (k, more) in problems.items() if k]
    if not counted:
        return
    if missing or other:
        remedy = _remedy(missing, unknown, other, start)
    else:
        remedy = _without({names[key] for key in unknown}, {names.get(key) for key in expected})
    raise InputError(f"{where}does not fit the network: parameters {', '.join(counted)}", remedy)


def _without(unknown: set[str], known: set[str | None]) -> str:
    """Remedy that removes unknown keys from a file and keeps the known ones."""

    def beginning(key: str) -> str:
        group = key.partition(".")[0] + "."
        mixed = "." not in key or any(name and name.startswith(group) for name in known)
        return key if mixed else group

    begins = sorted({beginning(key) for key in unknown})
    what = "remove what is not of this network from the file"
    if len(begins) > MOST_SHOWN or any(shown(one) != one for one in begins):
        return what
    chosen = f"{{k: v for k, v in state.items() if not k.startswith({tuple(begins)!r})}}"
    return f"{what}: {chosen}"


def _remedy(missing: list[str], unknown: list[str], other: list[str], start: bool) -> str:
    """Remedy for missing weights, and weights of another shape."""
    all_of_heads = all(key.startswith("heads.") for key in [*missing, *other, *unknown])
    if start and all_of_heads:
        head = min(int(key.split(".")[1]) for key in [*missing, *other])
        return (
            f"remove all weights of head {head + 1} from the file (for a backbone: those of its"
            " classifier) to train it from new weights; or use weights for as many classes"
        )
    if start:
        return "use weights of this network, or of its backbone, for as many classes"
    return (
        "use a checkpoint of this network and number of classes; weights without heads go into"
        " training.start_from"
    )


def _check_numbers(
    network: MultiExitNetwork,
    expected: dict[str, torch.Tensor],
    found: dict[str, torch.Tensor],
    path: Path,
) -> None:
    """Refuse weights of another kind of type, and values that are not finite."""
    parameters = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    for key, value in found.items():
        own = expected[key]
        if _kind(value) != _kind(own):
            remedy = "use weights of the same kind"
            if _kind(own) == "float":
                remedy = (
                    "quantised weights are useless without their scale: use those from before, of"
                    " 16 bits or more"
                )
            raise InputError(
                f"{in_line(path)}: {shown(key)} is {_dtype(value)}, the network's is {_dtype(own)}",
                remedy,
            )
        if key in parameters and not torch.isfinite(value.to(own.dtype)).all():
            raise InputError(
                f"{in_line(path)}: {shown(key)} contains values that are infinite or NaN (as"
                f" {_dtype(own)})",
                "use weights from before training diverged",
            )
        if key.endswith("running_var") and not bool((value >= 0).all()):
            raise InputError(
                f"{in_line(path)}: {shown(key)} contains variances that are negative or NaN; the"
                " file was damaged before it was saved",
                "use another",
            )
        if _kind(own) == "int" and not torch.equal(value.to(own.dtype).to(value.dtype), value):
            raise InputError(f"{in_line(path)}: {shown(key)} does not fit into {_dtype(own)}")


def _kind(value: torch.Tensor) -> str:
    dtype = value.dtype
    if dtype.is_complex or dtype is torch.bool:
        return _dtype(value)
    if dtype.is_floating_point:
        # Eight bits or fewer: quantised, with a scale.
        return "float" if dtype.itemsize > 1 else _dtype(value)
    return "int" if dtype in INTEGERS else _dtype(value)


INTEGERS = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
INTEGERS |= {torch.uint16, torch.uint32, torch.uint64}


def _dtype(value: torch.Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _first(keys: list[str], shown_at_most: int = 3) -> str:
    names = ", ".join(shown(key) for key in keys[:shown_at_most])
    return names + (", ..." if len(keys) > shown_at_most else "")
