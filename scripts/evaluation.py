"""Stage evaluation: the chosen policy on the test split, really run, checked and timed."""

import logging
from dataclasses import asdict

from early_exit import datasets, networks
from early_exit.evaluation import (
    check,
    compare,
    doubtful_times,
    evaluate,
    names_of_classes,
    per_class,
    per_exit,
    samples_table,
)
from early_exit.files import read_json, replacing, sha256, write_json, write_table
from early_exit.inference import run_policy
from early_exit.origin import check_same_origin
from early_exit.policy import Policy
from early_exit.timing import time_policy
from stage_engine import ready_to_run
from stage_inputs import costs_of, identity_of, origin, read_split
from stage_runner import read_manifest, run_stage, warn


def main(snakemake):
    files, params = snakemake.input, snakemake.params
    manifest, described = read_manifest(files.manifest, params.dataset)
    engine, inference, waits = ready_to_run(params.inference, manifest)
    batch_size = inference["batch_size"]
    chosen = read_json(files.policy, ["policy"])
    policy = Policy.from_json(chosen["policy"], files.policy)
    records = read_split(files.records, logits=policy.needs_logits)
    network, _ = networks.load(files.network)
    check_same_origin(
        (files.records, records.identity),
        described,
        (files.network, {"network": sha256(files.network)}),
        origin(files.machine),
        origin(files.policy),
    )
    costs = costs_of(files)
    data = datasets.load(params.data_dir, "test", params.dataset)
    run = run_policy(network, policy, data.images, batch_size, engine, waits)
    agreement = compare(policy, records, run)
    logging.info("Run against simulation: %s", agreement)
    if engine.precision == "fp32":
        check(agreement, files.records)
    times = time_policy(
        network, policy, data.images, batch_size, params.timed_batches, engine, waits
    )
    result = evaluate(policy, records, run, agreement, costs, asdict(times))
    if doubt := doubtful_times(result):
        warn(doubt)
    identity = identity_of(records, files)
    with replacing(snakemake.output.samples) as temporary:
        samples_table(records, run).to_parquet(temporary, index=False)
    write_table(snakemake.output.per_exit, per_exit(policy, records, run, costs), identity)
    classes = per_class(records, run, names_of_classes(records, manifest["class_names"]))
    write_table(snakemake.output.per_class, classes, identity)
    write_json(
        snakemake.output.evaluation,
        result | {"doubt": doubt or None, "timing": inference, "identity": identity},
    )


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
