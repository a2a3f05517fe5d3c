"""Step runtimes: time and test the policy, found anew for each, in every backend and precision."""

import logging
import os
from pathlib import Path

import numpy as np

from early_exit.calibration.recalibrate import relabelled
from early_exit.config.runtimes import PAIRS, is_reference
from early_exit.datasets.load import load_split
from early_exit.errors import InputError
from early_exit.inference.engine import Engine, scaling
from early_exit.inference.exits import all_outputs
from early_exit.inference.runtimes import BATCH, Runtime, runtimes_table
from early_exit.io.files import read_json, write_table
from early_exit.networks.build import build_network
from early_exit.networks.checkpoint import load_network
from early_exit.policy.policy import Policy
from early_exit.records.table import from_logits
from early_exit.structures.inputs import InputSpec
from job.engine import engine_of
from job.record_inputs import RecordInputs
from job.run import run_job, use_threads, warn

MEGA = 1e6


def main(snakemake):
    inputs, params = RecordInputs(snakemake), snakemake.params
    content, costs = inputs.json("policy", ("policy", "calibration", "cost")), inputs.costs()
    used = params.inference | {"threads": use_threads(params.inference["threads"]), "device": "cpu"}
    calibration, test = (
        load_split(params.data_dir, split, params.dataset, inputs.manifest)
        for split in ("calibration", "test")
    )

    def load():
        return inputs.network(load_network)[0]

    found, fp32_policy = [], None
    for backend, precision in ((name, one) for name, own in PAIRS.items() for one in own):
        graphs, files = files_of(inputs, backend, precision)
        pair = used | {"backend": backend, "precision": precision}
        try:
            engine = engine_of(pair, inputs.manifest, graphs)
        except InputError as error:
            warn(f"runtimes: without {backend} in {precision}: {error}")
            continue
        before = resident()
        network = engine.ready(load())
        outputs = all_outputs(network, calibration.inputs, BATCH, engine)
        memory = max(0.0, resident() - before)
        policy = found_anew(content, outputs, calibration, costs, fp32_policy)
        if is_reference(backend, precision):
            fp32_policy = policy
        megabytes = sum(Path(file).stat().st_size for file in files) / MEGA
        found.append(Runtime(backend, precision, engine, network, policy, memory, megabytes))
    settings = params.speed
    table = runtimes_table(
        found,
        as_published(inputs, settings["plain"], load),
        fp32_policy,
        test.inputs,
        test.labels.numpy(),
        settings["batch_sizes"],
        settings["images"],
        used["regroup"],
    )
    write_table(snakemake.output.runtimes, table, inputs.provenance())


def files_of(inputs, backend, precision):
    """The list of graphs of a pair, and the files that hold the network."""
    if backend == "torch":
        return None, [inputs.files.network]
    listed = inputs.files.quantized if precision == "int8" else inputs.files.graphs
    content = read_json(listed, ["stages", "heads"])
    names = (*content["stages"], *content["heads"])
    return listed, [Path(listed).parent / name for name in names]


def found_anew(content, outputs, split, costs, fp32_policy):
    """The policy by its method and for its target, on calibration records of a runtime."""
    if content.get("target") is None:
        # The full network, or thresholds of one's own.
        return Policy.from_json(content["policy"])
    logits, confidence = outputs
    about = np.arange(len(logits)), split.labels.numpy(), logits, {}
    records = from_logits(*about, confidence=confidence)
    try:
        return relabelled(content, records, costs)[0]
    except InputError as error:
        if fp32_policy is None:
            raise
        logging.info("The policy of fp32 is kept: %s", error)
        return fp32_policy


def as_published(inputs, named, load):
    """An engine and a network as published: of fp32 in contiguous memory, every stage and head."""
    engine = Engine("cpu", "fp32", "contiguous", **scaling(inputs.manifest))
    spec = InputSpec.read(inputs.manifest)
    network = build_network(named, inputs.manifest["classes"], spec) if named else load()
    return engine, engine.ready(network)


def resident():
    """Resident memory of this process, in megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGA


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
