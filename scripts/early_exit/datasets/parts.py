"""Parts of a user's data, and the settings of the splits that are cut from them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from early_exit.errors import InputError

# Parts of data, in the order of their indices.
PARTS = ("train", "calibration", "test")


def check_settings(parts: Collection[str], settings: dict[str, Any], where: Any) -> None:
    """Refuse the size of a split that has a part of its own.

    Parameters
    ----------
    parts
        Those of :data:`PARTS` in the data; ``train`` always is.
    settings
        ``calibration`` and ``test``.
    where
        Path for messages.
    """
    for key in ("calibration", "test"):
        if key in parts and settings[key] is not None:
            raise InputError(f"dataset.{key}: {where} has {key} samples of its own", "leave it out")
