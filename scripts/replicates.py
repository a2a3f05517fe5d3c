"""Stage replicates: the summaries of one experiment with several seeds, in one table."""

from early_exit.errors import InputError
from early_exit.files import read_json, write_table
from early_exit.replicates import gather
from stage_runner import run_stage


def main(snakemake):
    name = snakemake.wildcards.experiment
    summaries = {}
    for seed, path in enumerate(snakemake.input.summaries):
        summaries[seed] = read_json(path, ["experiment", "selected"])
        if summaries[seed]["experiment"] != f"{name}@{seed}":
            raise InputError(f"{path}: not the summary of {name}@{seed}; delete it and run again")
    write_table(snakemake.output.table, gather(summaries))


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
