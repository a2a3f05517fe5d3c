"""Step exits: join the records of a split's shards."""

from early_exit.records.shards import join
from job.run import run_job


def main(snakemake):
    join(snakemake.output.records, list(snakemake.input.shards))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
