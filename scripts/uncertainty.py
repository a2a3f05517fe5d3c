"""Step selection: how uncertain each exit is, right and wrong, on the calibration split."""

from early_exit.analysis.uncertainty import histograms
from early_exit.io.files import write_table
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs = RecordInputs(snakemake)
    criterion = inputs.policy().criterion
    records = inputs.records(criteria=[criterion])
    correct = criterion.prediction(records) == records.label[:, None]
    table = histograms(criterion.uncertainty(records), correct)
    write_table(snakemake.output.uncertainty, table, inputs.provenance("records"))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
