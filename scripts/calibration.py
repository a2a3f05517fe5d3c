"""Step calibration: find one method's thresholds for each target, on the calibration split."""

import pandas as pd

from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.targets import Target
from early_exit.io.files import write_table
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs, params = RecordInputs(snakemake), snakemake.params
    criteria, costs = inputs.criteria(), inputs.costs()
    records, method = inputs.records(criteria=criteria), snakemake.wildcards.method
    # A policy is chosen among all measures, so their certificates share delta.
    targets = [Target.parse(target, params.delta / len(criteria)) for target in params.targets]
    unit = costs.weighed_in(params.cost)
    tables = [calibrate(method, records, costs, targets, own, unit) for own in criteria]
    points = pd.concat(tables, ignore_index=True)
    write_table(snakemake.output.points, points, inputs.provenance("records"))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
