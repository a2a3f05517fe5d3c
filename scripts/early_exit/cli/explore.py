"""``early-exit explore``: a page for the browser in which thresholds are set, from records."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from early_exit.cli.main import FINE

if TYPE_CHECKING:
    from early_exit.policy.criterion import ExitCriterion
    from early_exit.records.table import Records

HELP = "Write the explorer of records: a page in which thresholds are set."
EPILOG = """\
Records are .npz or Parquet files as in docs/records.md, of samples that the network was not trained
on. Costs are a CSV table with a row for each exit (columns exit, and macs, ms or both), or an
experiment's cost.csv with cost.json beside it. Policies for a range of budgets are calibrated
first. The page is one file and loads nothing.

exit status: 0 the page was written, 2 nothing was done

  early-exit explore calibration.npz --costs costs.csv
"""
MEASURES = ("margin", "max_probability", "entropy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: records, costs, test records, measures, output file."""
    parser.add_argument("records", metavar="RECORDS", help="records of the calibration split")
    parser.add_argument("--costs", required=True, metavar="FILE", help="costs of the exits")
    parser.add_argument("--test", metavar="FILE", help="records of the test split, to look at once")
    parser.add_argument(
        "--measure",
        nargs="+",
        metavar="NAME",
        default=MEASURES,
        help=f"uncertainty measures to switch between ({' '.join(MEASURES)}), those that the"
        " records allow",
    )
    parser.add_argument(
        "--exit-rule", choices=["below", "above"], default="below", help="exit rule (below)"
    )
    parser.add_argument("--name", help="title of the page (the name of the records)")
    parser.add_argument(
        "--output", default="explorer.html", metavar="FILE", help="page to write (explorer.html)"
    )


def run(options: argparse.Namespace) -> int:
    """Write the page; returns the exit status."""
    from early_exit.errors import InputError
    from early_exit.explorer.assemble import assembled
    from early_exit.explorer.page import write_page
    from early_exit.policy.costs import costs_from_table
    from early_exit.policy.external_costs import read_external_costs
    from early_exit.records.external.read import read_external_records

    splits = {"calibration": read_external_records(options.records)}
    if options.test:
        classes = splits["calibration"].classes
        known = None if splits["calibration"].external else classes
        splits["test"] = read_external_records(options.test, classes=known)
    table, machine = read_external_costs(options.costs)
    costs = costs_from_table(table, options.costs, machine["batch_size"], machine["regroup"])
    for file, own in zip([options.records, options.test], splits.values(), strict=False):
        if own.exits != costs.exits:
            raise InputError(
                f"{file}: {own.exits} exits, but {options.costs} has {costs.exits}",
                "give the costs of the same network",
            )
    criteria = _criteria(splits["calibration"], options)
    keys = [criterion.key for criterion in criteria if criterion.needs_logits]
    splits = {split: own.without_logits(*keys) for split, own in splits.items()}
    name = options.name or Path(options.records).stem
    unit = machine.get("unit", "macs")
    write_page(options.output, assembled(name, splits, costs, unit, criteria))
    print(f"written: {options.output}; open it in a browser")
    return FINE


def _criteria(records: Records, options: argparse.Namespace) -> list[ExitCriterion]:
    """The exit criteria that the records allow, fitted to them if they have parameters."""
    from early_exit.calibration.criteria import fit
    from early_exit.policy.criterion import ExitCriterion
    from early_exit.records.uncertainty.measures import available

    names = list(dict.fromkeys(options.measure))
    allowed = available(names, records.external, records.logits is not None)
    found = []
    for name in allowed:
        records.check_measure(name)
        found.append(fit(records, ExitCriterion(name, options.exit_rule)))
    return found
