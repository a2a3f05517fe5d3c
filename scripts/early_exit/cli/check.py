"""``early-exit check``: tests for drift of new records from the calibration records."""

from __future__ import annotations

import argparse
import json
import math
from typing import TYPE_CHECKING, Any

from early_exit.cli.main import DRIFT, FINE
from early_exit.cli.options import add_policy, level

if TYPE_CHECKING:
    from early_exit.analysis.drift import Drift

HELP = "Test new records for drift from the calibration records of a policy."
EPILOG = """\
New records come from `early-exit record`, from the workflow (results/X/exits/test.parquet), or are
external (.npz or Parquet, see docs/records.md; labels may be missing). They are tested against the
calibration records beside the policy: the share of samples exiting at each exit (chi-square, or a
permutation test where few exit) and the uncertainty at each exit of the samples that reach it
(Kolmogorov-Smirnov); where labels are known, also the accuracy of the policy (Fisher) and its
certificate, if it has one (exact). `adjusted` is the p-value after Holm's correction for multiple
tests: without drift, any of them is at most alpha with probability at most alpha.

exit status: 0 no drift found, 2 nothing was done, 3 drift, or a broken certificate

  early-exit check --policy results/digits/selection/policy.json --records new.parquet
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: policy, new records, alpha, output format."""
    add_policy(parser)
    parser.add_argument("--records", required=True, metavar="FILE", help="the new records")
    parser.add_argument(
        "--alpha", type=level, default=0.01, help="probability of a false alarm (0.01)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, not tables")


def run(options: argparse.Namespace) -> int:
    """Test the records and print the result; returns the exit status."""
    from early_exit.analysis.drift import compare
    from early_exit.cli.experiment import read_experiment
    from early_exit.io.provenance import check_same_provenance, made_of_network
    from early_exit.records.external.read import read_external_records

    experiment = read_experiment(options.policy)
    calibration = experiment.calibration()
    classes = None if calibration.external else calibration.classes
    policy = experiment.policy
    new = read_external_records(
        options.records,
        classes=classes,
        labelled=False,
        key=policy.criterion.key,
    )
    made_by = made_of_network(new.provenance)
    remedy = "give the policy of the network that they were recorded with"
    check_same_provenance(experiment.origin, (options.records, made_by), remedy=remedy)
    drift = compare(
        policy,
        calibration,
        new,
        experiment.content.get("certificate"),
        options.alpha,
    )
    print(json.dumps(_as_json(drift, len(new)), indent=2) if options.json else _text(drift, new))
    return DRIFT if drift.found else FINE


def _text(drift: Drift, new: Any) -> str:
    shown = {"index": False, "float_format": lambda number: f"{number:.4g}", "na_rep": "-"}
    shares = drift.shares.rename(columns={"before": "calibration", "after": "new"})
    tests = drift.tests.rename(columns={"before": "calibration", "after": "new"})
    tests["moved"] = ["yes" if moved else "no" for moved in tests.moved]
    return "\n\n".join(
        [
            "Share of samples exiting at each exit:\n" + shares.to_string(**shown),
            "Tests (median uncertainty, accuracy, or certified and found value):\n"
            + tests.to_string(**shown),
            verdict(drift, len(new)),
        ]
    )


def verdict(drift: Drift, samples: int) -> str:
    """The result in one line."""
    counted = f"{samples} new samples, {len(drift.tests)} tests, alpha {drift.alpha:g}"
    if not drift.found:
        return f"no drift found ({counted}; smallest adjusted p {drift.tests.adjusted.min():.2g})"
    broken = "promise" in drift.moved
    moved = [name for name in drift.moved if name != "promise"]
    found = [f"drift: {', '.join(moved)} moved"] * bool(moved)
    found += ["the policy's certificate is broken"] * broken
    return f"{'; '.join(found)} ({counted})"


def _as_json(drift: Drift, samples: int) -> dict[str, Any]:
    return {
        "drift": drift.found,
        "verdict": verdict(drift, samples),
        "samples": samples,
        "alpha": drift.alpha,
        "shares": _rows(drift.shares),
        "tests": _rows(drift.tests),
    }


def _rows(table: Any) -> list[dict[str, Any]]:
    """Rows as dictionaries, with `None` for NaN, which JSON lacks."""
    rows = table.to_dict("records")
    return [{key: _without_nan(value) for key, value in row.items()} for row in rows]


def _without_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
