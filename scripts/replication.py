"""Stage replication: the published figures, reproduced with their arithmetic, and corrected."""

from early_exit.files import write_table
from early_exit.origin import check_same_origin
from early_exit.replication import replicate
from stage_inputs import identity_of, read_split
from stage_runner import run_stage


def main(snakemake):
    files = snakemake.input
    calibration, test = read_split(files.calibration), read_split(files.test)
    check_same_origin((files.test, test.identity), (files.calibration, calibration.identity))
    write_table(
        snakemake.output.replication, replicate(calibration, test), identity_of(test, files)
    )


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
