"""Stage data: check the data set's files, fetch what is missing, note what they are."""

from early_exit import datasets
from early_exit.files import write_json
from stage_runner import run_stage


def main(snakemake):
    settings = snakemake.params.dataset | {"mirrors": snakemake.params.mirrors}
    write_json(snakemake.output.manifest, datasets.prepare(snakemake.params.data_dir, settings))


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
