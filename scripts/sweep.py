"""Stage sweep: one threshold for all exits, over the measure's range, from the records."""

import pandas as pd

from early_exit.files import write_table
from early_exit.operating_point import simulated_table
from early_exit.policy import ExitRule, uniform
from early_exit.records import check_same_origin, read_records
from early_exit.sweep import sweep, threshold_grid
from stage_runner import costs_of, origin, run_stage


def main(snakemake):
    measure, settings = snakemake.params.measure, snakemake.params.sweep
    records = read_records(snakemake.input.records, logits=measure != "entropy")
    check_same_origin((snakemake.input.records, records.identity), origin(snakemake.input.machine))
    costs = costs_of(snakemake.input)
    grid = threshold_grid(measure, records.classes, settings["points"])
    curves = [sweep(records, costs, measure, rule, grid) for rule in ExitRule]
    write_table(snakemake.output.sweep, pd.concat(curves, ignore_index=True))
    write_table(snakemake.output.cutoffs, cutoffs(records, costs, measure, settings["cutoffs"]))


def cutoffs(records, costs, measure, thresholds):
    """Each single threshold, exit by exit, under both rules."""
    tables = [
        simulated_table(uniform(measure, rule, threshold, records.exits), records, costs).assign(
            exit_rule=rule.value, cutoff=threshold
        )
        for threshold in thresholds
        for rule in ExitRule
    ]
    if not tables:
        return pd.DataFrame(columns=["exit_rule", "cutoff"])
    table = pd.concat(tables, ignore_index=True)
    return table[["exit_rule", "cutoff", *table.columns.drop(["exit_rule", "cutoff"])]]


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
