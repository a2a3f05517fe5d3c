"""Step frontier: find a method's policies for many budgets, on the calibration split."""

from early_exit.analysis.frontier import joined, of_method
from early_exit.io.files import write_table
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs, params, method = RecordInputs(snakemake), snakemake.params, snakemake.wildcards.method
    criteria = inputs.criteria()
    records, costs = inputs.records(criteria=criteria), inputs.costs()
    # As in calibration, the measures share delta.
    delta = params.delta / len(criteria)
    tables = [of_method(records, costs, own, method, params.budgets, delta) for own in criteria]
    write_table(snakemake.output.policies, joined(tables), inputs.provenance("records"))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
