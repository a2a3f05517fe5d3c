"""Step runtimes: time and test the policy, found anew for each, in every backend and precision."""

import logging
import os
from pathlib import Path

import numpy as np

from early_exit.calibration.recalibrate import relabelled, unit_of
from early_exit.calibration.targets import Target, label
from early_exit.config.runtimes import PAIRS, is_reference
from early_exit.datasets.load import load_split
from early_exit.errors import BackendError, InputError
from early_exit.inference.cost import measure_costs
from early_exit.inference.engine import Engine, scaling
from early_exit.inference.exits import all_outputs
from early_exit.inference.runtimes import BATCH, Runtime, runtimes_table
from early_exit.io.files import read_json, write_table
from early_exit.networks.build import build_network
from early_exit.networks.checkpoint import load_network
from early_exit.policy.costs import costs_from_table
from early_exit.policy.operating_point import simulate
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

    chosen, has_target = Policy.from_json(content["policy"]), content.get("target") is not None
    found, fp32_policy, within = [], None, {}
    for backend, precision in ((name, one) for name, own in PAIRS.items() for one in own):
        graphs, files = files_of(inputs, backend, precision)
        pair = used | {"backend": backend, "precision": precision}
        before, plain = resident(), load()
        try:
            engine = engine_of(pair, inputs.manifest, graphs)
            network = engine.ready(plain)
        except BackendError as error:
            warn(f"runtimes: without {backend} in {precision}: {error}")
            continue
        records = records_of(network, calibration, engine)
        memory = max(0.0, resident() - before)
        own = costs
        if pair_of(params.inference) != (backend, precision) and depends_on_time(content, costs):
            own = costs_of(network, inputs, params, engine, content)
        policy = found_anew(content, records, own) or fp32_policy or chosen
        if is_reference(backend, precision):
            fp32_policy = policy
            within = {"target_kind": "macs", "target": simulate(policy, records, costs).macs}
        same_macs = found_anew(content | within, records, costs) if has_target else None
        megabytes = sum(Path(file).stat().st_size for file in files) / MEGA
        how = backend, precision, engine, network
        found.append(Runtime(*how, policy, same_macs, memory, megabytes))
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


def records_of(network, split, engine):
    """Records that a runtime makes of a split."""
    logits, confidence = all_outputs(network, split.inputs, BATCH, engine)
    about = np.arange(len(logits)), split.labels.numpy(), logits, {}
    return from_logits(*about, confidence=confidence)


def found_anew(content, records, costs):
    """The policy by its method and for its target on records; `None` if there is none.

    The full network and thresholds of one's own have no target.
    """
    if content.get("target") is None:
        return None
    try:
        return relabelled(content, records, costs)[0]
    except InputError as error:
        logging.info(
            "No policy for %s: %s", label(content["target_kind"], content["target"]), error
        )
        return None


def pair_of(inference):
    """Backend and precision of an experiment."""
    return inference["backend"], inference["precision"]


def depends_on_time(content, costs):
    """Whether times, which differ from runtime to runtime, decide on the thresholds."""
    if content.get("target") is None:
        return False
    return Target(content["target_kind"], 0.0).unit(unit_of(content, costs)) == "ms"


def costs_of(network, inputs, params, engine, content):
    """Costs that are measured here, for a runtime that is not the experiment's own."""
    size, settings = params.inference["batch_size"], params.cost
    measures = [content["policy"]["measure"]]
    spec = InputSpec.read(inputs.manifest)
    table = measure_costs(
        network, spec, [size], settings["repeats"], measures, engine, logging.info
    )
    regroup = engine.regroup_size(size) if params.inference["regroup"] else 0
    return costs_from_table(table, "runtimes", size, regroup)


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
