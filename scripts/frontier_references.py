"""Step frontier: the references, the published method and the full network."""

from early_exit.analysis.frontier import of_references, references
from early_exit.io.files import write_table
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs = RecordInputs(snakemake)
    criterion = of_references(inputs.criteria())
    table = references(inputs.records(criteria=[criterion]), inputs.costs(), criterion)
    write_table(snakemake.output.policies, table, inputs.provenance("records"))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
