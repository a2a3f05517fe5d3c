"""Stage selection: choose one policy, by calibration data alone."""

from early_exit.files import read_table, write_json
from early_exit.operating_point import OperatingPoint, simulate
from early_exit.policy import ExitRule, whole_network
from early_exit.records import check_same_origin, read_records
from early_exit.selection import Criterion, choose, with_whole_network
from stage_runner import costs_of, origin, run_stage


def main(snakemake):
    params = snakemake.params
    records = read_records(snakemake.input.records, logits=params.measure != "entropy")
    check_same_origin((snakemake.input.records, records.identity), origin(snakemake.input.machine))
    tables = [read_table(path, OperatingPoint.COLUMNS) for path in snakemake.input.points]
    whole = simulate(
        whole_network(params.measure, ExitRule(params.exit_rule), records.exits),
        records,
        costs_of(snakemake.input),
    )
    settings = dict(params.selection)
    criterion = Criterion(settings.pop("criterion"), **settings)
    chosen = choose(with_whole_network(tables, whole), criterion)
    identity = {key: records.identity[key] for key in ("network", "data")}
    write_json(snakemake.output.policy, chosen | {"identity": identity})


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
