"""Stage speed: the policy against the whole network at every batch size; predictions checked."""

from early_exit import datasets, networks
from early_exit.engine import Engine
from early_exit.files import read_json, write_json, write_table
from early_exit.policy import Policy
from early_exit.records import check_same_origin, read_records
from early_exit.speed import (
    policies_across,
    predicted_against_measured,
    speed_table,
    time_as_published,
)
from stage_runner import costs_of, origin, run_stage, use_threads


def main(snakemake):
    files, params, settings = snakemake.input, snakemake.params, snakemake.params.speed
    inference = dict(params.inference)
    threads, batch_size = use_threads(inference.pop("threads")), inference.pop("batch_size")
    regroup = inference.pop("regroup")
    engine, costs = Engine(**inference), costs_of(files)
    policy = Policy.from_json(read_json(files.policy).get("policy"), files.policy)
    records = read_records(files.records, logits=policy.needs_logits)
    check_same_origin(
        (files.records, records.identity), origin(files.policy), origin(files.machine)
    )
    images = datasets.load(params.data_dir, "test", params.dataset).images
    own, plain = (networks.load(files.network)[0] for _ in range(2))
    calibration = read_records(files.calibration, logits=policy.needs_logits)
    across = policies_across(calibration, policy, settings["policies"])
    predicted = predicted_against_measured(
        own, across, records, images, costs, settings["pictures"], engine
    )
    published, ours = time_as_published(plain, own, policy, images, batch_size, engine, regroup)
    copies = {name: networks.load(files.network)[0] for name in settings["precisions"]}
    table = speed_table(
        copies,
        policy,
        images,
        records.label,
        costs,
        settings["batch_sizes"],
        settings["pictures"],
        engine,
        regroup,
    )
    machine = read_json(files.machine) | {"threads": threads}
    machine["as_published_ms"], machine["policy_ms"] = published, ours
    write_table(snakemake.output.speed, table)
    write_table(snakemake.output.predicted, predicted)
    write_json(snakemake.output.machine, machine)


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
