"""Stage study, second part: all measures in one table."""

import pandas as pd

from early_exit.files import read_table, write_table
from early_exit.origin import check_same_origin
from early_exit.study import summarise
from stage_runner import run_stage

COLUMNS = ["measure", "scaled", "split", "method", "target_kind", "target", "accuracy", "missed"]


def main(snakemake):
    tables = [read_table(path, COLUMNS) for path in snakemake.input]
    made_by = [table.attrs["identity"] for table in tables]
    check_same_origin(*zip(snakemake.input, made_by, strict=True))
    runs = pd.concat(tables, ignore_index=True)
    write_table(snakemake.output.study, summarise(runs), made_by[0])


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
