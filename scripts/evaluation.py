"""Step evaluation: run the chosen policy on the test split, check it, and time it."""

import logging

from early_exit.analysis.evaluation import (
    evaluate,
    names_of_classes,
    per_class,
    per_exit,
    samples_table,
)
from early_exit.analysis.times import doubtful_times
from early_exit.datasets.load import load_split
from early_exit.inference.rerun import agree
from early_exit.inference.runner import run_policy
from early_exit.inference.timing import time_policy
from early_exit.io.files import replacing, write_json, write_table
from early_exit.networks.checkpoint import load_network
from job.engine import ready_to_run
from job.record_inputs import RecordInputs
from job.run import run_job, warn


def main(snakemake):
    inputs, params = RecordInputs(snakemake), snakemake.params
    engine, inference, regroup = ready_to_run(params.inference, inputs)
    batch_size = inference["batch_size"]
    policy, costs = inputs.policy(), inputs.costs()
    records = inputs.records(criteria=[policy.criterion])
    network = engine.ready(inputs.network(load_network)[0])
    data = load_split(params.data_dir, "test", params.dataset, inputs.manifest)
    run = run_policy(network, policy, data.inputs, batch_size, engine, regroup)
    agreement = agree(
        policy,
        records,
        run,
        data.inputs,
        batch_size,
        engine,
        lambda: inputs.network(load_network)[0],
        inputs.files.records,
    )
    logging.info("Agreement of run and simulation: %s", agreement)
    times = time_policy(
        network, policy, data.inputs, batch_size, params.timed_batches, engine, regroup
    )
    result = evaluate(policy, records, run, agreement, costs, times.medians, times.quartiles)
    if doubt := doubtful_times(result, costs):
        warn(doubt)
    provenance = inputs.provenance("records")
    with replacing(snakemake.output.samples) as temporary:
        samples_table(records, run).to_parquet(temporary, index=False)
    write_table(snakemake.output.per_exit, per_exit(policy, records, run, costs), provenance)
    classes = per_class(records, run, names_of_classes(records, inputs.manifest["class_names"]))
    write_table(snakemake.output.per_class, classes, provenance)
    write_json(
        snakemake.output.evaluation,
        result
        | {
            "doubt": doubt or None,
            "timing": inference | {"rounds": len(times.rounds)},
            "identity": provenance,
        },
    )


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
