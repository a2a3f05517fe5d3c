"""Step data: describe external records, and check that they belong together."""

from early_exit.io.files import sha256, write_json
from early_exit.policy.criterion import ExitRule
from early_exit.policy.external_costs import read_external_costs, remarks_on_costs
from early_exit.records.external.describe import describe, examine
from job.run import run_job, warn


def main(snakemake):
    files, names = snakemake.input, snakemake.params.class_names
    sign = ExitRule(snakemake.params.exit_rule).sign
    calibration = examine(files.calibration, "calibration", names and len(names), sign)
    calibration.check_measures(snakemake.params.measure)
    # A class that is not in the calibration split must be named in the configuration.
    test = examine(files.test, "test", calibration.records.classes, sign)
    costs, machine = read_external_costs(files.costs)
    manifest = describe(
        {name: sha256(getattr(files, name)) for name in ("calibration", "test", "costs")},
        calibration,
        test,
        int(costs.exit.max()),
        names,
        costs.attrs.get("identity"),
        machine.get("unit"),
    )
    manifest["remarks"] += [f"records.costs: {one}" for one in remarks_on_costs(costs, machine)]
    for remark in manifest["remarks"]:
        warn(remark)
    write_json(snakemake.output.manifest, manifest)


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
