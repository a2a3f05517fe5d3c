"""Stage speed: the policy against the whole network at every batch size; predictions checked."""

from early_exit import datasets, networks
from early_exit.files import read_json, sha256, write_json, write_table
from early_exit.origin import check_same_origin
from early_exit.policy import Policy
from early_exit.speed import (
    policies_across,
    predicted_against_measured,
    speed_table,
    time_as_published,
)
from stage_engine import ready_to_run
from stage_inputs import costs_of, identity_of, origin, read_split
from stage_runner import read_manifest, run_stage


def main(snakemake):
    files, params, settings = snakemake.input, snakemake.params, snakemake.params.speed
    manifest, described = read_manifest(files.manifest, params.dataset)
    engine, inference, _ = ready_to_run(params.inference, manifest)
    batch_size, regroup = inference["batch_size"], inference["regroup"]
    costs = costs_of(files)
    policy = Policy.from_json(read_json(files.policy, ["policy"])["policy"], files.policy)
    records = read_split(files.records, logits=policy.needs_logits)
    calibration = read_split(files.calibration, logits=policy.needs_logits)
    check_same_origin(
        (files.records, records.identity),
        (files.calibration, calibration.identity),
        described,
        (files.network, {"network": sha256(files.network)}),
        origin(files.machine),
        origin(files.policy),
    )
    images = datasets.load(params.data_dir, "test", params.dataset).images
    own = networks.load(files.network)[0]
    plain = plain_network(settings["plain"], files.network, manifest)
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
    machine = read_json(files.machine) | {"threads": inference["threads"]}
    machine["as_published_ms"], machine["policy_ms"] = published, ours
    machine["as_published"] = settings["plain"]
    identity = identity_of(records, files)
    write_table(snakemake.output.speed, table, identity)
    write_table(snakemake.output.predicted, predicted, identity)
    write_json(snakemake.output.machine, machine)


def plain_network(name, own, manifest):
    """The network that is run as published: `name` with its first weights, or the experiment's."""
    if name is None:
        return networks.load(own)[0]
    return networks.build(name, manifest["classes"], manifest["shape"])


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
