"""Step study: run every method on many splits of the pooled records, with one measure."""

from early_exit.analysis.study import asked, compare, pool, unreached
from early_exit.calibration.targets import out_of_reach
from early_exit.io.files import write_table
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.records.uncertainty.measures import RECORDED
from job.record_inputs import RecordInputs
from job.run import run_job, warn


def main(snakemake):
    inputs, params, wildcards = RecordInputs(snakemake), snakemake.params, snakemake.wildcards
    settings = params.study
    scaled = wildcards.scaling == "scaled"
    logits = scaled or wildcards.measure not in RECORDED
    calibration, test = (inputs.records(name, logits) for name in ("calibration", "test"))
    criterion = ExitCriterion(wildcards.measure, ExitRule(params.exit_rule))
    costs = inputs.costs()
    targets = asked(settings["targets"], params.delta, costs)
    runs = compare(
        pool(calibration, test),
        costs,
        criterion,
        scaled,
        settings["methods"],
        targets,
        settings["calibration"] or len(calibration),
        settings["splits"],
    )
    for target in unreached(runs, targets):
        warn(f"study: left out, {out_of_reach(target, costs.in_unit(target.unit(costs.unit)))}")
    own = {"measure": wildcards.measure, "scaled": scaled}
    provenance = inputs.provenance("calibration") | {"split": "pooled"}
    write_table(snakemake.output.runs, runs.assign(**own), provenance)


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
