"""Step data: check the data set's files, download missing ones, write the manifest."""

from early_exit.datasets.load import prepare_dataset
from early_exit.io.files import write_json
from job.run import run_job


def main(snakemake):
    settings = snakemake.params.dataset | {"mirrors": snakemake.params.mirrors}
    write_json(snakemake.output.manifest, prepare_dataset(snakemake.params.data_dir, settings))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
