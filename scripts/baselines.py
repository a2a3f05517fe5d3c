"""Stage baselines: policies of every budget against smaller networks that were trained alone."""

from early_exit import datasets, networks
from early_exit.baselines import against_smaller, policies_of_budgets
from early_exit.errors import InputError
from early_exit.files import sha256, write_table
from early_exit.origin import check_same_origin
from stage_engine import ready_to_run
from stage_inputs import costs_of, identity_of, read_seen, read_split
from stage_runner import read_manifest, run_stage


def main(snakemake):
    files, params = snakemake.input, snakemake.params
    manifest, described = read_manifest(files.manifest, params.dataset)
    engine, _, _ = ready_to_run(params.inference, manifest)
    records, sees = read_seen(files, params)
    calibration = read_split(files.calibration, logits=sees.needs_logits)
    check_same_origin(
        (files.records, records.identity),
        (files.calibration, calibration.identity),
        described,
        (files.network, {"network": sha256(files.network)}),
    )
    costs, settings = costs_of(files), params.baselines
    policies = policies_of_budgets(
        settings["method"], calibration, costs, sees, settings["budgets"]
    )
    network = networks.load(files.network)[0]
    smaller = dict(smaller_network(path, described) for path in files.baselines)
    images = datasets.load(params.data_dir, "test", params.dataset).images
    table = against_smaller(
        engine.ready(network), smaller, policies, records, images, costs, engine
    )
    write_table(snakemake.output.baselines, table, identity_of(records, files))


def smaller_network(path, described):
    """A smaller network, and the exit after which it was cut."""
    network, made_by = networks.load(path)
    check_same_origin(described, (path, {"data": made_by["data"]}))
    if "cut" not in made_by:
        raise InputError(f"{path}: is no network that was cut; delete it and run again")
    return made_by["cut"], network


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
