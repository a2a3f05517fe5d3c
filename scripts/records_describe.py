"""Stage data, for records from elsewhere: what they are, and that they belong together."""

from early_exit.files import sha256, write_json
from early_exit.foreign import describe, read_foreign
from early_exit.foreign_costs import read_foreign_costs
from stage_runner import run_stage


def main(snakemake):
    files, names = snakemake.input, snakemake.params.class_names
    calibration = read_foreign(files.calibration, "calibration", names and len(names))
    calibration.check_measure(snakemake.params.measure)
    # A class that the calibration split lacks must have been named.
    test = read_foreign(files.test, "test", calibration.classes)
    costs, _ = read_foreign_costs(files.costs)
    manifest = describe(
        {name: sha256(getattr(files, name)) for name in ("calibration", "test", "costs")},
        calibration,
        test,
        int(costs.exit.max()),
        names,
        costs.attrs.get("identity"),
    )
    write_json(snakemake.output.manifest, manifest)


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
