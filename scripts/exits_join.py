"""Stage exits: join the records of a split's shards."""

from early_exit.shards import join
from stage_runner import run_stage


def main(snakemake):
    join(snakemake.output.records, list(snakemake.input.shards))


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
