"""Stage study, second part: all measures in one table."""

import pandas as pd

from early_exit.files import read_table, write_table
from early_exit.study import summarise
from stage_runner import run_stage

COLUMNS = ["measure", "scaled", "split", "method", "target_kind", "target", "accuracy", "missed"]


def main(snakemake):
    runs = pd.concat([read_table(path, COLUMNS) for path in snakemake.input], ignore_index=True)
    write_table(snakemake.output.study, summarise(runs))


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
