"""Step sweep: simulate uniform thresholds over the measure's range, from the records."""

import numpy as np
import pandas as pd

from early_exit.io.files import write_table
from early_exit.policy.criterion import ExitRule
from early_exit.policy.sweep import (
    Counts,
    count,
    cutoffs,
    operating_points,
    span_of,
    threshold_grid,
)
from early_exit.records.uncertainty.measures import CONFIDENCE
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs = RecordInputs(snakemake)
    criterion, costs = inputs.criterion(), inputs.costs()
    records = with_span(inputs, criterion)
    grid, single = thresholds(records, criterion.measure, snakemake.params)
    if inputs.files.get("counts"):
        counts = inputs.tables("counts", ["exit_rule"])
        found = sum_of_shards(counts, records["exits"], len(grid) + len(single))
    else:
        pieces = inputs.pieces(logits=criterion.needs_logits)
        found = count_pieces(pieces, criterion, records["exits"], np.append(grid, single))
    sweeps, tables = [], []
    for rule, own in found.items():
        under = criterion.under(rule)
        sweeps.append(operating_points(own.at(slice(len(grid))), costs, under, grid))
        each = cutoffs(own.at(slice(len(grid), None)), costs, under, single)
        tables += [
            table.assign(exit_rule=rule.value, cutoff=threshold)
            for threshold, table in zip(single, each, strict=True)
        ]
    provenance = inputs.provenance("records")
    write_table(snakemake.output.sweep, pd.concat(sweeps, ignore_index=True), provenance)
    write_table(snakemake.output.cutoffs, by_cutoff(tables), provenance)


def with_span(inputs, criterion):
    """Metadata of the records, with the range of confidences, which is not known before."""
    found = inputs.described()
    if criterion.measure == CONFIDENCE:
        found = found | {"span": span_of(inputs.pieces(), criterion)}
    return found


def thresholds(records, measure, params):
    """The swept thresholds, and the cutoffs to be tabulated exit by exit."""
    settings, classes = params.sweep, records["classes"]
    grid = threshold_grid(measure, classes, settings["points"], records.get("span"))
    return grid, np.array(settings["cutoffs"], float)


def count_pieces(pieces, criterion, exits, levels):
    """Counts of samples that exit, and of correct ones, at each threshold, by exit rule."""
    found = {rule: Counts.none(len(levels), exits) for rule in ExitRule}
    for piece in pieces:
        for rule in ExitRule:
            found[rule] += count(piece, criterion.under(rule), levels)
    return found


def sum_of_shards(counts, exits, levels):
    """Sum of the shards' counts, by exit rule."""
    found = {rule: Counts.none(levels, exits) for rule in ExitRule}
    for table in counts:
        for rule in ExitRule:
            found[rule] += Counts.from_table(table[table.exit_rule == rule.value], exits)
    return found


def by_cutoff(tables):
    """One table of all cutoffs, with the cutoff among the first columns."""
    if not tables:
        return pd.DataFrame(columns=["exit_rule", "cutoff"])
    table = pd.concat(tables, ignore_index=True).sort_values(
        "cutoff", kind="stable", ignore_index=True
    )
    return table[["exit_rule", "cutoff", *table.columns.drop(["exit_rule", "cutoff"])]]


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
