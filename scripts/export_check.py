"""Step export: check the export on the test split against the network under torch."""

import importlib.util
import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np

from early_exit.datasets.load import load_split
from early_exit.errors import InputError
from early_exit.export.check import agreement, as_arrays, single_run, time_both
from early_exit.export.graphs import code
from early_exit.export.runner import SESSIONS
from early_exit.inference.runner import run_policy
from early_exit.inference.single import FILE as SINGLE
from early_exit.io.files import write_json
from early_exit.networks.checkpoint import load_network
from early_exit.policy.outcomes import Outcomes
from early_exit.structures.tree import rows, samples
from job.engine import ready_to_run
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs, params = RecordInputs(snakemake), snakemake.params
    engine, inference, regroup = ready_to_run(params.inference | {"device": "cpu"}, inputs)
    policy = inputs.policy()
    records = inputs.records(criteria=[policy.criterion])
    exported, path = (
        inputs.json("exported", ("identity", "made_by", "files")),
        inputs.files.exported,
    )
    network = engine.ready(inputs.network(load_network)[0])
    runner = runner_of(Path(path).parent, inference["threads"])
    data = load_split(params.data_dir, "test", params.dataset, inputs.manifest).inputs
    batch_size = inference["batch_size"]
    run = run_policy(network, policy, data, batch_size, engine, regroup)

    def compared(exported_run, what):
        own = run_export(exported_run, data, batch_size)
        found = agreement(policy, records, run, own, engine.precision)
        logging.info("%s against %s here: %s", what, inference["backend"], found)
        if found.different:
            raise InputError(
                f"{what}: {found.different} of {len(records)} samples exit elsewhere, or get"
                f" another class, than under {inference['backend']} here, by more than rounding",
                "delete the export and run again; if the error stays, do not use the export",
            )
        return own, found

    own, found = compared(runner.run, path)
    differences = np.abs(run.uncertainty - own.uncertainty)[run.exit == own.exit]
    single = single_of(Path(path).parent, exported, runner, inference["threads"])
    alone = compared(single, Path(path).with_name(SINGLE))[1] if single else None
    times = time_both(network, policy, runner.run, data, engine, inference["regroup"], single)
    print(in_words(Path(path).parent, found, times))
    write_json(
        snakemake.output.comparison,
        {
            "samples": len(records),
            "agreement": asdict(found),
            "single_graph": asdict(alone) if alone else None,
            "accuracy": float((own.prediction == records.label).mean()),
            "uncertainty_differs_by": {"at_most": float(differences.max(initial=0.0))},
            "timing": {"threads": inference["threads"], "batch_sizes": times},
            "made_by": exported["made_by"],
            "identity": inputs.provenance(),
        },
    )


def single_of(folder, exported, runner, threads):
    """What runs the export's single graph, if it has one."""
    if SINGLE not in exported["files"]:
        return None
    _, load = SESSIONS[runner.backend](threads, runner.precision)
    return single_run(load, (folder / SINGLE).read_bytes(), runner)


def in_words(folder, found, times):
    """The line with which an export ends: where it is, how it agrees, how fast it is."""
    ms = ", ".join(f"{own['ms_onnx']:.3g} ms in batches of {size}" for size, own in times.items())
    if "ms_single" in times["1"]:
        ms += f", {times['1']['ms_single']:.3g} ms in {SINGLE}"
    return (
        f"export: {folder}: {found.equal:,} samples as recorded here, {found.ties:,} ties,"
        f" {found.different:,} different; a sample takes {ms}"
    )


def run_export(run, data, batch_size):
    """Outcomes of the export's `run`, a batch at a time: all images may not fit in memory."""
    starts = range(0, samples(data), batch_size)
    pieces = (rows(data, slice(start, start + batch_size)) for start in starts)
    found = [run(as_arrays(piece), batch_size) for piece in pieces]
    return Outcomes(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def runner_of(folder, threads):
    """The runner of the export in `folder`; its code must be this project's."""
    path = folder / "runner.py"
    for name, own in code().items():
        file = folder / name
        if not file.is_file() or file.read_bytes() != own:
            raise InputError(
                f"{file}: not this project's {file.stem}, and code from a results folder is not"
                " run",
                f"delete {folder / 'manifest.json'} and run again",
            )
    spec = importlib.util.spec_from_file_location("exported_runner", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return module.EarlyExitRunner(folder, threads)
    except module.ExportError as error:
        raise InputError(f"{error}: delete it and run again") from error


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
