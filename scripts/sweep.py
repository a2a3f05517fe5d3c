"""Stage sweep: one threshold for all exits, over the measure's range, from the records."""

import numpy as np
import pandas as pd

from early_exit.files import read_table, write_table
from early_exit.origin import check_same_origin
from early_exit.policy import ExitRule
from early_exit.sweep import Counts, count, cutoffs, priced, threshold_grid
from stage_inputs import costs_of, made_from, origin, pieces_seen
from stage_runner import run_stage


def main(snakemake):
    files, params = snakemake.input, snakemake.params
    identity, sees, pieces = pieces_seen(files, params)
    grid, single = thresholds(identity, params)
    if files.get("counts"):
        found = sum_of_shards(files, identity, sees, len(grid) + len(single))
    else:
        found = count_pieces(pieces, sees, np.append(grid, single))
    costs, made_by = costs_of(files), made_from(identity, files)
    sweeps, tables = [], []
    for seen in both_rules(sees):
        own = found[seen.rule]
        sweeps.append(priced(own.at(slice(len(grid))), costs, seen, grid))
        each = cutoffs(own.at(slice(len(grid), None)), costs, seen, single)
        tables += [
            table.assign(exit_rule=seen.rule.value, cutoff=threshold)
            for threshold, table in zip(single, each, strict=True)
        ]
    write_table(snakemake.output.sweep, pd.concat(sweeps, ignore_index=True), made_by)
    write_table(snakemake.output.cutoffs, told(tables), made_by)


def thresholds(identity, params):
    """The swept thresholds, and the single ones that are told exit by exit."""
    settings, classes = params.sweep, identity["classes"]
    grid = threshold_grid(params.measure, classes, settings["points"], identity.get("span"))
    return grid, np.array(settings["cutoffs"], float)


def both_rules(sees):
    """The policy under each exit rule."""
    return [sees.under(rule) for rule in ExitRule]


def count_pieces(pieces, sees, levels):
    """What the samples of all pieces do at each threshold, by exit rule."""
    found = {rule: Counts.none(len(levels), sees.exits) for rule in ExitRule}
    for piece in pieces:
        for seen in both_rules(sees):
            found[seen.rule] += count(piece, seen, levels)
    return found


def sum_of_shards(files, identity, sees, levels):
    """The sum of what the shards counted."""
    found = {rule: Counts.none(levels, sees.exits) for rule in ExitRule}
    for path in files.counts:
        table = read_table(path, ["exit_rule"])
        check_same_origin((files.records, identity), origin(path))
        for rule in ExitRule:
            found[rule] += Counts.from_table(table[table.exit_rule == rule.value], sees.exits)
    return found


def told(tables):
    """The tables of single thresholds, the threshold in front."""
    if not tables:
        return pd.DataFrame(columns=["exit_rule", "cutoff"])
    table = pd.concat(tables, ignore_index=True).sort_values(
        "cutoff", kind="stable", ignore_index=True
    )
    return table[["exit_rule", "cutoff", *table.columns.drop(["exit_rule", "cutoff"])]]


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
