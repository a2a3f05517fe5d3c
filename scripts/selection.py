"""Stage selection: choose one policy, by calibration data alone."""

from early_exit.files import read_json, read_table, write_json
from early_exit.operating_point import OperatingPoint, simulate
from early_exit.origin import check_same_origin
from early_exit.policy_file import describe
from early_exit.selection import Criterion, choose, with_whole_network
from stage_inputs import costs_of, identity_of, origin, read_seen
from stage_runner import read_manifest, run_stage


def main(snakemake):
    files, params = snakemake.input, snakemake.params
    records, sees = read_seen(files, params)
    tables = [read_table(path, OperatingPoint.COLUMNS) for path in files.points]
    made_by = [table.attrs["identity"] for table in tables]
    manifest, data = read_manifest(files.manifest, params.dataset)
    check_same_origin(
        (files.records, records.identity),
        data,
        origin(files.machine),
        *zip(files.points, made_by, strict=True),
    )
    costs = costs_of(files)
    whole = simulate(sees, records, costs)
    settings = dict(params.selection)
    criterion = Criterion(settings.pop("criterion"), **settings)
    chosen = choose(with_whole_network(tables, whole), criterion, sees)
    machine = read_json(files.machine)
    described = describe(chosen, records, costs, machine, params.network, manifest)
    identity = identity_of(records, files)
    write_json(snakemake.output.policy, described | {"identity": identity})


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
