"""Step evaluation: simulate every calibrated policy on the test split's records."""

from early_exit.analysis.evaluation import points_on_test
from early_exit.analysis.selection import THRESHOLDS
from early_exit.io.files import write_table
from early_exit.policy.operating_point import OperatingPoint
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs = RecordInputs(snakemake)
    policy, tables = inputs.policy(), inputs.tables("points", OperatingPoint.COLUMNS)
    criteria = inputs.criteria()
    records = inputs.records(criteria=criteria)
    chosen = inputs.json("policy", ("method", "calibration"))
    own = chosen["calibration"] if chosen["method"] == THRESHOLDS else None
    points = points_on_test(tables, policy, records, inputs.costs(), criteria, own)
    write_table(snakemake.output.points, points, inputs.provenance("records"))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
