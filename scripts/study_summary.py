"""Step study: summarise all measures in one table."""

import pandas as pd

from early_exit.analysis.study import summarise
from early_exit.io.files import write_table
from job.inputs import Inputs
from job.run import run_job

COLUMNS = ["measure", "scaled", "split", "method", "target_kind", "target", "accuracy", "missed"]


def main(snakemake):
    inputs = Inputs(snakemake)
    runs = pd.concat(inputs.tables("runs", COLUMNS), ignore_index=True)
    write_table(snakemake.output.study, summarise(runs), inputs.provenance("runs"))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
