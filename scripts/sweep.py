"""Stage sweep: one threshold for all exits, over the measure's range, from the records."""

from dataclasses import replace

import pandas as pd

from early_exit.files import write_table
from early_exit.operating_point import simulated_table
from early_exit.policy import ExitRule
from early_exit.sweep import sweep, threshold_grid
from stage_runner import costs_of, identity_of, read_seen, run_stage


def main(snakemake):
    settings = snakemake.params.sweep
    records, sees = read_seen(snakemake.input, snakemake.params)
    costs = costs_of(snakemake.input)
    grid = threshold_grid(
        sees.measure, records.classes, settings["points"], records.identity.get("span")
    )
    both = [replace(sees, rule=rule) for rule in ExitRule]
    curves = [sweep(records, costs, seen, grid) for seen in both]
    identity = identity_of(records, snakemake.input)
    write_table(snakemake.output.sweep, pd.concat(curves, ignore_index=True), identity)
    table = cutoffs(records, costs, both, settings["cutoffs"])
    write_table(snakemake.output.cutoffs, table, identity)


def cutoffs(records, costs, both, thresholds):
    """Each single threshold, exit by exit, under both rules."""
    tables = [
        simulated_table(seen.at((threshold,) * (seen.exits - 1)), records, costs).assign(
            exit_rule=seen.rule.value, cutoff=threshold
        )
        for threshold in thresholds
        for seen in both
    ]
    if not tables:
        return pd.DataFrame(columns=["exit_rule", "cutoff"])
    table = pd.concat(tables, ignore_index=True)
    return table[["exit_rule", "cutoff", *table.columns.drop(["exit_rule", "cutoff"])]]


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
