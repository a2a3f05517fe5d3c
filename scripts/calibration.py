"""Stage calibration: one method's thresholds for each target, on the calibration split."""

from early_exit.calibration import calibrate
from early_exit.files import write_table
from early_exit.targets import Target
from stage_inputs import costs_of, identity_of, read_seen
from stage_runner import run_stage


def main(snakemake):
    params = snakemake.params
    records, sees = read_seen(snakemake.input, params)
    targets = [Target.parse(target, params.delta) for target in params.targets]
    method, costs = snakemake.wildcards.method, costs_of(snakemake.input)
    unit = costs.weighed_in(params.cost)
    points = calibrate(method, records, costs, targets, sees, unit)
    write_table(snakemake.output.points, points, identity_of(records, snakemake.input))


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
