"""Stage temperature: one temperature for each exit, fitted on the calibration split."""

from early_exit.files import write_json
from early_exit.temperature import fit, negative_log_likelihood
from stage_inputs import identity_of, read_split
from stage_runner import run_stage


def main(snakemake):
    records = read_split(snakemake.input.records, logits=True)
    temperatures = fit(records).tolist()
    exits = [records.logits[:, k] for k in range(records.exits)]
    losses = {
        "unscaled": [negative_log_likelihood(logits, records.label) for logits in exits],
        "scaled": [
            negative_log_likelihood(logits, records.label, t)
            for logits, t in zip(exits, temperatures, strict=True)
        ],
    }
    identity = identity_of(records, snakemake.input)
    content = {"temperatures": temperatures, "negative_log_likelihood": losses}
    write_json(snakemake.output.temperatures, content | {"identity": identity})


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
