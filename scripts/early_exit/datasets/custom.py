"""A data set of the user's, ``path/to/file.py:ClassName``.

The class needs no base class. It is called with ``dataset.arguments``, and with ``path`` if it has
that parameter: the setting ``dataset.path`` or else ``data_dir``. It has

``split(name) -> (inputs, labels)`` or ``None``
    For ``train``, ``calibration`` and ``test``: inputs are a NumPy array or torch tensor with the
    samples first, or a dictionary or tuple of them; labels (N,) are integers from 0. ``None`` for
    ``calibration`` or ``test`` has that split cut off, as from the arrays of a file
    (:mod:`early_exit.datasets.npz`).
``class_names``
    C strings; optional, by default the classes are named by their numbers.
``images``
    Optional; ``True`` if inputs are images (N, channels, height, width), uint8, which are scaled.
``digest() -> str``
    Optional; identifies the data. By default they have a checksum.
``prepare(raw) -> inputs``, ``read(path) -> raw``, ``text``
    Optional, for new samples; see :mod:`early_exit.datasets.new`.
``state() -> JSON``, ``load_state(state)``
    Optional; what ``prepare`` needs besides the arguments, such as a vocabulary. It is kept with
    the results, and handed to another object of the class before that prepares new samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.datasets.arrays import check_same_kinds, digest, length, mapped, tensors
from early_exit.datasets.base import Contents
from early_exit.datasets.labels import checked_class_names
from early_exit.datasets.own_class import OwnClass, Part
from early_exit.datasets.parts import PARTS, check_settings
from early_exit.errors import InputError
from early_exit.structures.examples import EXAMPLES

if TYPE_CHECKING:
    from early_exit.datasets.base import Split

SETTINGS = ("test", "path", "arguments")
# Key of the class's own digest among the checksums.
DIGEST = "digest"


def prepare(data_dir: Path, settings: dict[str, Any]) -> Contents:
    """Read all splits and check them.

    Raises
    ------
    InputError
        If the class cannot be used, or its arrays are not as described above.
    """
    name, own = settings["name"], OwnClass.made(settings, data_dir)
    parts = {part: found for part in PARTS if (found := own.part(part)) is not None}
    check_settings(parts, settings, name)
    inputs, labels = parts["train"]
    for part, (others, _) in parts.items():
        check_same_kinds(inputs, others, f"{name}: split('{part}')", "split('train')")
    others = [labels for _, labels in parts.values()]
    names = checked_class_names(own.class_names(), labels, others, name, "split('train')")
    files, state = _checksums(own, parts), own.state()
    if own.has("prepare") or own.has("read"):
        # Before anything long: what new samples will be prepared with.
        OwnClass.made(settings, None, state)
    if own.images:
        return Contents(names, inputs.shape[1:], files, state=state)
    return Contents(names, None, files, mapped(lambda one: one[:EXAMPLES], inputs), state)


def load(
    data_dir: Path, split: str, settings: dict[str, Any], files: dict[str, str] | None = None
) -> Split:
    """Read one split; see :mod:`early_exit.datasets.load`.

    Indices are positions in what the class returned for ``split``, or for the split that it is cut
    off from.

    Parameters
    ----------
    files
        Checksums in the manifest, which the data must still have.

    Raises
    ------
    InputError
        As for :func:`prepare`, or if the data are others than those of the manifest.
    """
    import torch

    from early_exit.datasets.base import Split

    own = OwnClass.made(settings, data_dir)
    found = own.part("test") if split == "test" else None
    index = None if found is None else torch.arange(len(found[1]))
    parts = {"test": found}
    if found is None:
        parts = {part: one for part in PARTS if (one := own.part(part)) is not None}
        source, index = _cut({part: len(one[1]) for part, one in parts.items()}, split, settings)
        found = parts[source]
    if files is not None:
        _check_unchanged(own, parts, files)
    inputs, labels = found
    rows = index.numpy()
    return Split(
        tensors(mapped(lambda one: one[rows], inputs)), torch.from_numpy(labels)[index], index
    )


def _cut(sizes: dict[str, int], split: str, settings: dict[str, Any]) -> tuple[str, Any]:
    """The part that a split is in, and its positions there."""
    from early_exit.datasets.splits import in_three

    index, start = in_three(sizes, settings)[split], 0
    for part, size in sizes.items():
        if start <= int(index[0]) < start + size:
            return part, index - start
        start += size
    raise AssertionError(f"indices of {split} are in no part")


def _checksums(own: OwnClass, parts: dict[str, Part]) -> dict[str, str]:
    """What identifies the data: the class's own digest, or checksums of the parts."""
    given = own.digest()
    if given is not None:
        return {DIGEST: given}
    return {
        part: f"{length(inputs)} samples, sha256:{digest((inputs, labels))}"
        for part, (inputs, labels) in parts.items()
    }


def _check_unchanged(own: OwnClass, parts: dict[str, Part], files: dict[str, str]) -> None:
    found = _checksums(own, {} if DIGEST in files else parts)
    changed = [key for key, value in found.items() if files.get(key) != value]
    if changed or not found:
        what = "digest()" if DIGEST in {*files, *found} else f"split('{changed[0]}')"
        raise InputError(
            f"{own.name}: {what} returns other data than when they were checked; each job reads"
            " them anew and must get the same, in the same order",
            "use fixed seeds; if the data were changed, delete the manifest in results/ and run"
            " again",
        )
