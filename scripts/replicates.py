"""Step replicates: gather the summaries of an experiment with several seeds in one table."""

from early_exit.analysis.replicates import gather
from early_exit.errors import AGAIN, InputError
from early_exit.io.files import read_json, write_table
from job.run import run_job


def main(snakemake):
    name = snakemake.wildcards.experiment
    summaries = {}
    for seed, path in enumerate(snakemake.input.summaries):
        summaries[seed] = read_json(path, ["experiment", "selected"])
        if summaries[seed]["experiment"] != f"{name}@{seed}":
            raise InputError(f"{path}: not the summary of {name}@{seed}", AGAIN)
    write_table(snakemake.output.table, gather(summaries))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
