"""Stage summary: an experiment's headline figures, gathered."""

from early_exit.files import read_json, write_json
from early_exit.origin import check_same_origin
from early_exit.summary import summarise
from stage_inputs import identity_of, origin, read_split
from stage_runner import read_manifest, run_stage


def main(snakemake):
    files = snakemake.input
    calibration, test = read_split(files.calibration), read_split(files.test)
    manifest, data = read_manifest(files.manifest)
    check_same_origin(
        (files.test, test.identity),
        (files.calibration, calibration.identity),
        data,
        origin(files.policy),
        origin(files.evaluation),
    )
    summary = summarise(
        snakemake.wildcards.experiment,
        snakemake.params.network,
        manifest,
        calibration,
        test,
        read_json(files.policy, ["policy"]),
        read_json(files.evaluation, ["selected", "simulated"]),
    )
    identity = {"costs": origin(files.policy)[1]["costs"]} | identity_of(test, files)
    write_json(snakemake.output.summary, summary | {"identity": identity})


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
