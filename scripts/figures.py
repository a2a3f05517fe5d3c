"""Step figures: draw one figure from its tables."""

from pathlib import Path

from early_exit.figures.save import save_figure
from job.inputs import Inputs
from job.run import run_job


def main(snakemake):
    inputs = Inputs(snakemake)
    tables = {
        name: inputs.json(name) if path.endswith(".json") else inputs.table(name)
        for name, path in inputs.files.items()
    }
    tables["experiment"] = snakemake.wildcards.experiment
    tables["published"] = snakemake.params.get("published", False)
    save_figure(snakemake.wildcards.figure, tables, Path(snakemake.output.svg).parent)


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
