"""Stage evaluation: the chosen policy on the test split, really run, checked and timed."""

import logging

from early_exit import datasets, networks
from early_exit.cost_model import read_costs
from early_exit.evaluation import check, compare, evaluate, per_exit, samples_table
from early_exit.files import read_json, replacing, sha256, write_json, write_table
from early_exit.inference import run_policy
from early_exit.policy import Policy
from early_exit.records import check_same_origin, read_records
from early_exit.timing import time_against_whole
from stage_runner import origin, run_stage, use_threads


def main(snakemake):
    files, params = snakemake.input, snakemake.params
    threads = use_threads(params.threads)
    chosen = read_json(files.policy)
    policy = Policy.from_json(chosen.get("policy"), files.policy)
    records = read_records(files.records, logits=policy.measure != "entropy")
    network, _ = networks.load(files.network)
    check_same_origin(
        (files.records, records.identity),
        (files.network, {"network": sha256(files.network)}),
        origin(files.policy),
        origin(files.machine),
    )
    data = datasets.load(params.data_dir, "test", params.dataset)
    run = run_policy(network, policy, data.images, params.batch_size)
    agreement = compare(policy, records, run)
    logging.info("Run against simulation: %s", agreement)
    check(agreement, files.records)
    times = time_against_whole(
        network, policy, data.images, params.batch_size, params.timed_batches
    )
    costs = read_costs(files.costs)
    result = evaluate(policy, records, run, agreement, costs, *times)
    timing = {"threads": threads, "batch_size": params.batch_size, "precision": "fp32"}
    identity = {key: records.identity[key] for key in ("network", "data")}
    with replacing(snakemake.output.samples) as temporary:
        samples_table(records, run).to_parquet(temporary, index=False)
    write_table(snakemake.output.per_exit, per_exit(policy, records, run, costs))
    write_json(snakemake.output.evaluation, result | {"timing": timing, "identity": identity})


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
