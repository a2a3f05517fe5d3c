"""Step speed: time the policy and the full network by batch size; check predicted times."""

from dataclasses import replace

from early_exit.datasets.load import load_split
from early_exit.inference.exits import all_outputs
from early_exit.inference.rerun import agree
from early_exit.inference.speed import (
    policies_across,
    predicted_against_measured,
    speed_table,
    time_as_published,
)
from early_exit.io.files import write_json, write_table
from early_exit.networks.build import build_network
from early_exit.networks.checkpoint import load_network
from early_exit.records.table import from_logits
from early_exit.structures.inputs import InputSpec
from job.engine import ready_to_run
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs, params, settings = RecordInputs(snakemake), snakemake.params, snakemake.params.speed
    engine, inference, _ = ready_to_run(params.inference, inputs)
    batch_size, regroup = inference["batch_size"], inference["regroup"]
    policy, costs = inputs.policy(), inputs.costs()
    records, calibration = (
        inputs.records(criteria=[policy.criterion]),
        inputs.records("calibration", criteria=[policy.criterion]),
    )

    def load():
        return inputs.network(load_network)[0]

    own = engine.ready(load())
    data = load_split(params.data_dir, "test", params.dataset, inputs.manifest).inputs
    manifest, published_as = inputs.manifest, settings["plain"]
    # Run as published: the named network, untrained, or the experiment's own.
    spec = InputSpec.read(manifest)
    plain = build_network(published_as, manifest["classes"], spec) if published_as else load()
    across = policies_across(calibration, policy.criterion, settings["policies"])
    predicted = predicted_against_measured(
        own, across, records, data, costs, settings["images"], engine
    )
    published, ours = time_as_published(plain, own, policy, data, batch_size, engine, regroup)
    # Graphs are of one precision; `snakemake runtimes` has them all.
    named = settings["precisions"] if inference["backend"] == "torch" else [engine.precision]
    copies = {name: replace(engine, precision=name).ready(load()) for name in named}

    def check(run, run_by, size):
        theirs = records if run_by == engine else recorded(run_by)
        agree(policy, theirs, run, data, size, run_by, load, inputs.files.records)

    def recorded(other):
        """Records of another precision, in which the policy is run as it is."""
        logits, confidence = all_outputs(load(), data, batch_size, other)
        about = records.index, records.label, logits, dict(records.provenance)
        return from_logits(*about, confidence=confidence)

    table = speed_table(
        copies,
        policy,
        data,
        records.label,
        costs,
        settings["batch_sizes"],
        settings["images"],
        engine,
        check,
        regroup,
    )
    machine = inputs.json("machine") | {"threads": inference["threads"]}
    machine["as_published_ms"], machine["policy_ms"] = published, ours
    machine["as_published"] = published_as
    provenance = inputs.provenance("records")
    write_table(snakemake.output.speed, table, provenance)
    write_table(snakemake.output.predicted, predicted, provenance)
    write_json(snakemake.output.machine, machine)


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
