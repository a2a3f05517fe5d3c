"""Stage calibration: one method's thresholds for each target, on the calibration split."""

from early_exit.calibration import calibrate
from early_exit.files import write_table
from early_exit.policy import ExitRule
from early_exit.records import check_same_origin, read_records
from stage_runner import costs_of, origin, run_stage


def main(snakemake):
    params = snakemake.params
    records = read_records(snakemake.input.records, logits=params.measure != "entropy")
    check_same_origin((snakemake.input.records, records.identity), origin(snakemake.input.machine))
    points = calibrate(
        snakemake.wildcards.method,
        records,
        costs_of(snakemake.input),
        params.targets,
        params.measure,
        ExitRule(params.exit_rule),
    )
    write_table(snakemake.output.points, points)


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
