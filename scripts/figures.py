"""Stage figures: draw each figure from the tables that the job was given."""

import pandas as pd

from early_exit.figures import save
from early_exit.files import read_json
from stage_runner import figures_folder, run_stage


def main(snakemake):
    tables = {
        name: read_json(path) if path.endswith(".json") else pd.read_csv(path)
        for name, path in snakemake.input.items()
    }
    tables["experiment"] = snakemake.wildcards.experiment
    for name in snakemake.params.figures:
        save(name, tables, figures_folder(snakemake.output))


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
