"""Engine and threads from the setting `inference`, for scripts that run a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from early_exit.config.runtimes import check_pair, is_reference
from early_exit.errors import InputError
from early_exit.inference.engine import Engine, scaling
from early_exit.io.files import sha256
from early_exit.structures.inputs import InputSpec
from job.inputs import Inputs
from job.run import use_threads


def ready_to_run(
    inference: dict[str, Any], inputs: Inputs
) -> tuple[Engine, dict[str, Any], int | None]:
    """The engine, the setting as used, and the batch size for regrouping; sets torch's threads.

    The setting as used has the number of threads that are available. The last is `None` without
    regrouping. Of a backend other than torch the input `graphs` has the graphs.

    Raises
    ------
    InputError
        If the job's records or costs were made with another backend or precision.
    """
    used = inference | {"threads": use_threads(inference["threads"])}
    graphs = inputs.optional("graphs")
    engine = engine_of(used, inputs.manifest, graphs)
    inputs.made_with(engine_provenance(used, graphs))
    regroup = engine.regroup_size(used["batch_size"]) if used["regroup"] else None
    return engine, used, regroup


def engine_of(used: dict[str, Any], manifest: dict[str, Any], graphs: str | None) -> Engine:
    """The engine of the setting `inference`, with the graphs that it runs if it is not torch."""
    device, precision, memory_format, backend = (
        used[key] for key in ("device", "precision", "memory_format", "backend")
    )
    check_pair(backend, precision, device, "inference")
    if backend == "torch":
        return Engine(device, precision, memory_format, **scaling(manifest))
    if graphs is None:
        raise InputError("inference.backend: the job has no graphs", "run again")
    # Only where it is used: it takes the packages of the extra `runtime`.
    from early_exit.inference.backends.engine import GraphEngine

    own = {"graphs": Path(graphs), "spec": InputSpec.read(manifest), "threads": used["threads"]}
    return GraphEngine(device, precision, backend=backend, **own, **scaling(manifest))


def engine_provenance(inference: dict[str, Any], graphs: str | None) -> dict[str, str]:
    """What provenance notes of an engine: nothing of torch in fp32, with which all began.

    Backend and precision, and the checksum of the list of graphs, joined by colons.
    """
    pair = (inference["backend"], inference["precision"])
    if is_reference(*pair):
        return {}
    return {"engine": ":".join((*pair, sha256(graphs)) if graphs else pair)}
