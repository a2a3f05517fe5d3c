"""Step reliability: calibration error of each exit's probabilities, on the test split."""

from early_exit.analysis.reliability import of_exits
from early_exit.io.files import write_table
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs = RecordInputs(snakemake)
    temperatures = inputs.json("temperatures", ("temperatures",))["temperatures"]
    pieces = inputs.pieces(logits=True)
    exits, bins = of_exits(pieces, temperatures, snakemake.params.measures)
    write_table(snakemake.output.exits, exits, inputs.provenance("records"))
    write_table(snakemake.output.bins, bins, inputs.provenance("records"))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
