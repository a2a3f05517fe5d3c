"""Step frontier: join the policies of all methods and references in one table."""

from early_exit.analysis.frontier import joined
from early_exit.io.files import write_table
from early_exit.policy.operating_point import OperatingPoint, as_written
from job.inputs import Inputs
from job.run import run_job


def main(snakemake):
    inputs = Inputs(snakemake)
    tables = [
        as_written(table)
        for name in ("methods", "references")
        for table in inputs.tables(name, OperatingPoint.COLUMNS)
    ]
    write_table(snakemake.output.policies, joined(tables), inputs.provenance("references"))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
