"""State of unfinished training in a file: an interruption costs at most one epoch."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from early_exit.io.files import replacing

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedState:
    """File of the state after the last finished epoch.

    Attributes
    ----------
    path
        Path of the file; it exists only while training is unfinished.
    provenance
        Data, network, recipe, seed and code, which determine the result. A state of another
        provenance is ignored.
    """

    path: Path
    provenance: dict[str, Any]

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file atomically."""
        content = io.BytesIO()
        torch.save({"identity": self._text(), "state": state}, content)
        # torch.save to a path does not raise OSError.
        with replacing(self.path) as temporary:
            temporary.write_bytes(content.getbuffer())

    def load(self) -> dict[str, Any] | None:
        """The saved state, or ``None`` if it is missing, damaged or of another provenance."""
        if not self.path.exists():
            return None
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            provenance, state = found["identity"], found["state"]
        # A damaged file can make the reader raise anything.
        except Exception as error:
            reason = repr(error)[:120]
            LOGGER.warning("%s is damaged (%s): training starts over", self.path, reason)
            return None
        if provenance != self._text():
            LOGGER.warning(
                "%s is of another recipe, data set, seed or code: training starts over", self.path
            )
            return None
        return state

    def remove(self) -> None:
        """Delete the file, once training is finished."""
        self.path.unlink(missing_ok=True)

    def _text(self) -> str:
        return json.dumps(self.provenance, sort_keys=True)
