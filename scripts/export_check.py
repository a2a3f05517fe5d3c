"""Stage export, checked: the export on the test split, against the network under torch."""

import importlib.util
import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np

from early_exit import datasets, networks
from early_exit.errors import InputError
from early_exit.export_check import agreement, time_both
from early_exit.files import read_json, sha256, write_json
from early_exit.inference import run_policy
from early_exit.origin import check_same_origin
from early_exit.outcomes import Outcomes
from early_exit.policy import Policy
from stage_engine import ready_to_run
from stage_inputs import origin, read_split
from stage_runner import read_manifest, run_stage


def main(snakemake):
    files, params = snakemake.input, snakemake.params
    manifest, described = read_manifest(files.manifest, params.dataset)
    exact = params.inference | {"precision": "fp32", "device": "cpu"}
    engine, inference, waits = ready_to_run(exact, manifest)
    policy = Policy.from_json(read_json(files.policy, ["policy"])["policy"], files.policy)
    records = read_split(files.records, logits=policy.needs_logits)
    exported = read_json(files.exported, ["identity", "made_by"])
    network, _ = networks.load(files.network)
    check_same_origin(
        (files.records, records.identity),
        origin(files.policy),
        described,
        (files.network, {"network": sha256(files.network)}),
        (files.exported, exported["identity"]),
    )
    runner = runner_of(Path(files.exported).parent, inference["threads"])
    images = datasets.load(params.data_dir, "test", params.dataset).images
    batch_size = inference["batch_size"]
    run = run_policy(network, policy, images, batch_size, engine, waits)
    own = run_export(runner.run, images, batch_size)
    found = agreement(policy, records, run, own)
    logging.info("Export against torch: %s", found)
    if found.different:
        raise InputError(
            f"{files.exported}: {found.different} of {len(records)} pictures leave elsewhere, or"
            " get another class, than under torch, by more than rounding; delete the export and"
            " run again, and if it stays so, do not use it"
        )
    differences = np.abs(run.uncertainty - own.uncertainty)[run.exit == own.exit]
    times = time_both(network, policy, runner.run, images, engine, inference["regroup"])
    write_json(
        snakemake.output.comparison,
        {
            "samples": len(records),
            "agreement": asdict(found),
            "accuracy": float((own.prediction == records.label).mean()),
            "uncertainty_differs_by": {"at_most": float(differences.max(initial=0.0))},
            "timing": {"threads": inference["threads"], "batch_sizes": times},
            "made_by": exported["made_by"],
            "identity": {k: v for k, v in exported["identity"].items() if k != "split"},
        },
    )


def run_export(run, images, batch_size):
    """What the export's `run` gives for pictures, a batch at a time: all may not fit in memory."""
    starts = range(0, len(images), batch_size)
    found = [run(images[start : start + batch_size].numpy(), batch_size) for start in starts]
    return Outcomes(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def runner_of(folder, threads):
    """The runner that was exported, not the project's own, with the export in `folder`."""
    spec = importlib.util.spec_from_file_location("exported_runner", folder / "runner.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return module.EarlyExitRunner(folder, threads)
    except module.ExportError as error:
        raise InputError(f"{error}: delete it and run again") from error


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
