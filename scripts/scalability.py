"""Step scalability: time calibration for growing numbers of samples."""

from early_exit.analysis.scalability import measure
from early_exit.io.files import write_table
from early_exit.policy.samples import Samples
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs, params = RecordInputs(snakemake), snakemake.params
    criterion = inputs.criterion()
    samples = Samples.of(inputs.records(criteria=[criterion]), criterion)
    table = measure(samples, inputs.costs(), params.methods, params.sizes)
    write_table(snakemake.output.scalability, table, inputs.provenance("records"))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
