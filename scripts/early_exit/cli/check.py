"""``early-exit check``: has what the policy sees moved away from calibration?"""

from __future__ import annotations

import argparse
import json
import math
from typing import TYPE_CHECKING, Any

from early_exit.cli import DRIFT, FINE
from early_exit.cli.options import add_policy, level

if TYPE_CHECKING:
    from early_exit.drift import Drift

HELP = "Whether new records have moved away from those that the policy was chosen by."
EPILOG = """\
New records come from `early-exit record`, from the workflow (results/X/exits/test.parquet), or from
elsewhere (.npz or Parquet, as docs/records.md says; labels may be missing). They
are tested against the calibration records beside the policy: the shares of pictures leaving at each
exit (chi-square, or a permutation test where few leave), the uncertainty at each exit among those
that reach it (Kolmogorov-Smirnov), and where labels are known that the policy is no less accurate
(Fisher) and that its certificate, if it has one, is kept (exact). `adjusted` is the p-value after
Holm's correction for so many tests: without drift, any is at most alpha with the probability alpha.

exit status: 0 no drift found, 3 drift, or a promise broken, 2 nothing was done

  early-exit check --policy results/digits/selection/policy.json --records new.parquet
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The policy, the new records, and how easily to warn."""
    add_policy(parser)
    parser.add_argument("--records", required=True, metavar="FILE", help="the new records")
    parser.add_argument(
        "--alpha", type=level, default=0.01, help="the probability of a false alarm (0.01)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, not tables")


def run(options: argparse.Namespace) -> int:
    """Compare, and print what was found."""
    from early_exit.cli.experiment import read_experiment
    from early_exit.drift import compare
    from early_exit.foreign import read_foreign
    from early_exit.origin import check_same_origin

    experiment = read_experiment(options.policy)
    calibration = experiment.calibration()
    classes = None if calibration.given else calibration.classes
    new = read_foreign(options.records, classes=classes, labelled=False)
    network = {key: value for key, value in new.identity.items() if key == "network"}
    remedy = "give the policy of the network that they were recorded with"
    check_same_origin(experiment.origin, (options.records, network), remedy=remedy)
    drift = compare(
        experiment.policy,
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
            "Share of pictures leaving at each exit:\n" + shares.to_string(**shown),
            "Tests (median uncertainty, accuracy, or what was promised and found):\n"
            + tests.to_string(**shown),
            verdict(drift, len(new)),
        ]
    )


def verdict(drift: Drift, samples: int) -> str:
    """What it comes to, in a line."""
    counted = f"{samples} new samples, {len(drift.tests)} tests, alpha {drift.alpha:g}"
    if not drift.found:
        return f"no drift found ({counted}; smallest adjusted p {drift.tests.adjusted.min():.2g})"
    broken = "promise" in drift.moved
    moved = [name for name in drift.moved if name != "promise"]
    found = [f"drift: {', '.join(moved)} moved"] * bool(moved)
    found += ["the policy's promise is broken"] * broken
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
    """A dictionary a row; JSON knows no NaN."""
    rows = table.to_dict("records")
    return [{key: _known(value) for key, value in row.items()} for row in rows]


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
