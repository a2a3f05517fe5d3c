"""``early-exit policy``: a policy file of thresholds that the user gives."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from early_exit.cli.main import FINE
from early_exit.errors import InputError

if TYPE_CHECKING:
    from early_exit.cli.experiment import Experiment
    from early_exit.policy.criterion import ExitCriterion

HELP = "Make a policy file of thresholds of your own, for an experiment's network."
EPILOG = """\
The thresholds are taken as they are, and priced on the experiment's calibration split. The file is
a complete policy file, which predict, record, check and recalibrate take; `why` says that the
thresholds are yours. The same in the workflow, with an evaluation on the test split:
`selection: {criterion: thresholds, thresholds: [...]}`.

exit status: 0 the policy was written, 2 nothing was done

  early-exit policy --results results/digits --thresholds 0.1 never 0.3 always 0.2
"""
# Beside the folder of the chosen policy, so that the experiment's other files are found from there.
FOLDER, NAME = "own", "policy.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: results, thresholds, measure, output file."""
    parser.add_argument(
        "--results", required=True, metavar="FOLDER", help="the experiment's folder, results/X"
    )
    parser.add_argument(
        "--thresholds",
        required=True,
        nargs="+",
        type=threshold,
        metavar="T",
        help="a number, never or always for each exit but the final one",
    )
    parser.add_argument(
        "--measure",
        metavar="NAME",
        help="what they are thresholds of (the chosen policy's measure)",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="policy file to write (results/X/own/policy.json)"
    )


def threshold(text: str) -> float | str:
    """A threshold, from an argument."""
    if text in ("never", "always"):
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number, never or always") from None


def run(options: argparse.Namespace) -> int:
    """Write the policy file and print what it does; returns the exit status."""
    from early_exit.analysis.own_thresholds import check_number, own_choice, policy_of_thresholds
    from early_exit.cli.experiment import read_experiment
    from early_exit.io.files import write_json
    from early_exit.policy.description import describe
    from early_exit.policy.samples import held_out
    from early_exit.policy.units import cost_words

    results = Path(options.results)
    output = Path(options.output) if options.output else results / FOLDER / NAME
    if output.suffix != ".json":
        raise InputError(f"--output {output}: not the name of a policy file", "end it with .json")
    experiment = read_experiment(str(results / "selection" / NAME))
    check_number(options.thresholds, experiment.policy.exits, "--thresholds")
    criterion = criterion_of(experiment, results, options.measure)
    policy = policy_of_thresholds(criterion, options.thresholds, "--thresholds")
    costs = experiment.costs()
    records = held_out(replace(experiment, policy=policy).calibration(), criterion)
    chosen = own_choice(policy, records, costs)
    old = experiment.content
    content = describe(
        chosen,
        records,
        costs,
        old["cost"],
        old["network"]["name"],
        old["data"],
        old["cost"]["unit"],
    )
    write_json(output, content | {"identity": old["identity"]})
    own = content["calibration"]
    words = [] if own["macs"] is None else [cost_words(own["macs"], experiment.cost_unit)]
    words += [] if own["ms_per_sample"] is None else [f"{own['ms_per_sample']:.4g} ms predicted"]
    print(f"{own['accuracy']:.2%} accurate on calibration at {' and '.join(words)}")
    print(f"written: {output}")
    if output.absolute().parent.parent != results.absolute():
        print(f"predict and check find the network only from a folder in {results}")
    return FINE


def criterion_of(experiment: Experiment, results: Path, measure: str | None) -> ExitCriterion:
    """The chosen policy's exit criterion, or that of another measure with the same rule.

    Raises
    ------
    InputError
        If the measure is unknown, or its fitted parameters are missing.
    """
    from early_exit.io.files import read_json
    from early_exit.policy.criterion import ExitCriterion
    from early_exit.records.uncertainty.measures import EXTERNAL, is_fitted, module

    own = experiment.policy.criterion
    if measure is None or measure == own.measure:
        return own
    if measure != EXTERNAL:
        module(measure)
    if not is_fitted(measure):
        return ExitCriterion(measure, own.rule, own.temperatures)
    file = results / "criteria" / "parameters.json"
    found = read_json(file, ["parameters"])["parameters"] if file.is_file() else {}
    if measure not in found:
        raise InputError(
            f"--measure {measure}: {results} has no fitted parameters of it",
            f"put {measure} into the experiment's measure and run the workflow again",
        )
    return ExitCriterion(measure, own.rule, own.temperatures, found[measure])
