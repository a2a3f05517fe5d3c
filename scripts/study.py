"""Stage study, first part: every method on many splits of the pooled records, by one measure."""

from early_exit.files import write_table
from early_exit.origin import check_same_origin
from early_exit.policy import ExitRule, whole_network
from early_exit.study import asked, compare, pool
from early_exit.uncertainty import RECORDED
from stage_inputs import costs_of, identity_of, origin, read_split
from stage_runner import run_stage


def main(snakemake):
    files, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
    settings = params.study
    scaled = wildcards.scaling == "scaled"
    logits = scaled or wildcards.measure not in RECORDED
    calibration, test = (read_split(p, logits=logits) for p in (files.calibration, files.test))
    check_same_origin(
        (files.calibration, calibration.identity),
        (files.test, test.identity),
        origin(files.machine),
    )
    sees = whole_network(wildcards.measure, ExitRule(params.exit_rule), calibration.exits)
    costs = costs_of(files)
    runs = compare(
        pool(calibration, test),
        costs,
        sees,
        scaled,
        settings["methods"],
        asked(settings["targets"], params.delta, costs),
        settings["calibration"] or len(calibration),
        settings["splits"],
    )
    own = {"measure": wildcards.measure, "scaled": scaled}
    identity = identity_of(calibration, files) | {"split": "pooled"}
    write_table(snakemake.output.runs, runs.assign(**own), identity)


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
