"""Stage replicates: the summaries of one experiment with several seeds, in one table."""

from early_exit.files import read_json, write_table
from early_exit.replicates import gather
from stage_runner import run_stage


def main(snakemake):
    summaries = [read_json(path) for path in snakemake.input.summaries]
    write_table(snakemake.output.table, gather(dict(enumerate(summaries))))


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
