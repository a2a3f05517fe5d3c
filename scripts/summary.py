"""Stage summary: an experiment's headline figures, gathered."""

from early_exit.files import read_json, write_json
from early_exit.records import check_same_origin, read_records
from early_exit.summary import summarise
from stage_runner import origin, run_stage


def main(snakemake):
    files = snakemake.input
    calibration, test = read_records(files.calibration), read_records(files.test)
    check_same_origin(
        (files.test, test.identity),
        (files.calibration, calibration.identity),
        origin(files.policy),
        origin(files.evaluation),
    )
    summary = summarise(
        snakemake.wildcards.experiment,
        snakemake.params.network,
        read_json(files.manifest),
        calibration,
        test,
        read_json(files.policy),
        read_json(files.evaluation),
    )
    write_json(snakemake.output.summary, summary)


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
