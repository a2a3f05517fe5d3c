"""Step temperature: fit one temperature per exit, on the calibration split."""

from early_exit.calibration.temperature import fit_exit, negative_log_likelihood
from early_exit.io.files import write_json
from early_exit.records.parquet import read_exit
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs = RecordInputs(snakemake)
    path, records = inputs.files.records, inputs.records()
    temperatures, losses = [], {"unscaled": [], "scaled": []}
    # One exit at a time: the logits of all may not fit in memory.
    for number in range(1, records.exits + 1):
        logits = read_exit(path, number)
        temperatures.append(fit_exit(logits, records.label))
        for name, scale in (("unscaled", 1.0), ("scaled", temperatures[-1])):
            losses[name].append(negative_log_likelihood(logits, records.label, scale))
    content = {"temperatures": temperatures, "negative_log_likelihood": losses}
    write_json(snakemake.output.temperatures, content | {"identity": inputs.provenance("records")})


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
