"""The state of unfinished training, kept in a file, so that a kill costs one epoch at most."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from early_exit.files import replacing

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedState:
    """A file for the state after the last finished epoch.

    Attributes
    ----------
    path
        Where it is; there only while training is unfinished.
    identity
        What decides the result: data, network, recipe, seed, code. A state of another identity is
        not gone on from.
    """

    path: Path
    identity: dict[str, Any]

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file; a kill while writing leaves the one before."""
        content = io.BytesIO()
        torch.save({"identity": self._text(), "state": state}, content)
        # Not by its own writer, whose errors are not the system's.
        with replacing(self.path) as temporary:
            temporary.write_bytes(content.getbuffer())

    def load(self) -> dict[str, Any] | None:
        """What :meth:`save` wrote, if it is there, whole, and of this identity."""
        if not self.path.exists():
            return None
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            identity, state = found["identity"], found["state"]
        # What a damaged file makes the reader raise is not one type.
        except Exception as error:
            reason = repr(error)[:120]
            LOGGER.warning("%s is damaged (%s): training starts over", self.path, reason)
            return None
        if identity != self._text():
            LOGGER.warning(
                "%s is of another recipe, data set, seed or code: training starts over", self.path
            )
            return None
        return state

    def remove(self) -> None:
        """Training is finished."""
        self.path.unlink(missing_ok=True)

    def _text(self) -> str:
        return json.dumps(self.identity, sort_keys=True)
