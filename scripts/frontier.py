"""Step frontier: evaluate the policies on the test split's records."""

from early_exit.analysis.frontier import on_test
from early_exit.io.files import write_table
from early_exit.policy.operating_point import OperatingPoint
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs = RecordInputs(snakemake)
    criteria, chosen = inputs.criteria(), inputs.table("policies", OperatingPoint.COLUMNS)
    records = inputs.records(criteria=criteria)
    frontier = on_test(chosen, records, inputs.costs(), criteria)
    write_table(snakemake.output.frontier, frontier, inputs.provenance("records"))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
