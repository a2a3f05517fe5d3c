"""What the scripts share that run a network as the setting `inference` says."""

from __future__ import annotations

from typing import Any

from early_exit.engine import Engine, scaling
from stage_runner import use_threads


def ready_to_run(
    inference: dict[str, Any], manifest: dict[str, Any] | None = None
) -> tuple[Engine, dict[str, Any], int | None]:
    """The engine of the setting `inference`, for the pictures of a data set; torch's threads set.

    With it the setting as it was taken (threads are those that are there), and how many samples
    that are left of batches wait for each other.
    """
    taken = inference | {"threads": use_threads(inference["threads"])}
    taken_by = (taken[key] for key in ("device", "precision", "memory_format"))
    engine = Engine(*taken_by, **scaling(manifest or {}))
    waits = engine.worth_waiting_for(taken["batch_size"]) if taken["regroup"] else None
    return engine, taken, waits
