"""Stage selection: choose one policy, by calibration data alone."""

from early_exit.files import read_table, write_json
from early_exit.operating_point import OperatingPoint, simulate
from early_exit.selection import Criterion, choose, with_whole_network
from stage_runner import costs_of, read_seen, run_stage


def main(snakemake):
    params = snakemake.params
    records, sees = read_seen(snakemake.input, params)
    tables = [read_table(path, OperatingPoint.COLUMNS) for path in snakemake.input.points]
    whole = simulate(sees, records, costs_of(snakemake.input))
    settings = dict(params.selection)
    criterion = Criterion(settings.pop("criterion"), **settings)
    chosen = choose(with_whole_network(tables, whole), criterion, sees)
    identity = {key: records.identity[key] for key in ("network", "data")}
    write_json(snakemake.output.policy, chosen | {"identity": identity})


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
