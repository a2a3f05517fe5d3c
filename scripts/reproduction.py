"""Step reproduction: reproduce the published figures with their arithmetic, and correct them."""

from early_exit.analysis.reproduction import reproduce
from early_exit.io.files import write_table
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs = RecordInputs(snakemake)
    table = reproduce(inputs.records("calibration"), inputs.records("test"))
    write_table(snakemake.output.reproduction, table, inputs.provenance("test"))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
