"""Records with extreme uncertainties, from the file to the figures."""

import numpy as np
import pytest

from early_exit.analysis.evaluation import evaluate, points_on_test, simulated
from early_exit.analysis.summary import summarise
from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.targets import Target
from early_exit.figures.save import save_figure
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.operating_point import policy_of
from early_exit.policy.sweep import sweep, threshold_grid
from early_exit.records.external.describe import describe, examine
from early_exit.records.parquet import read_records, write_records
from early_exit.records.table import from_external
from elsewhere import EXITS, MACS, uncertainty_and_correct

ODD = {
    "the largest": lambda u: u / np.abs(u).max() * 1e100,
    "far apart": lambda u: np.where(u < np.median(u), -1e100, u),
    "denormals": lambda u: (u - u.min()) / np.ptp(u) * 1e-320,
    "the smallest": lambda u: np.where(u < np.median(u), 0.0, 5e-324),
    "constant": lambda u: np.full_like(u, 0.5),
    "minus zero": lambda u: np.where(u < np.median(u), -0.0, 0.0),
    "nearly alike": lambda u: np.where(u < np.median(u), 1.0, np.nextafter(1.0, 2)),
    "large and alike": lambda u: np.where(u < np.median(u), 1e99, np.nextafter(1e99, 2e99)),
}


@pytest.mark.parametrize(
    ("name", "rule"), [*((name, ExitRule.BELOW) for name in ODD), ("far apart", ExitRule.ABOVE)]
)
def test_odd_uncertainties_reach_the_figures(tmp_path, name, rule):
    splits = {}
    for seed, split in enumerate(("calibration", "test")):
        uncertainty, correct = uncertainty_and_correct(seed=seed)
        np.savez(tmp_path / f"{split}.npz", uncertainty=ODD[name](uncertainty), correct=correct)
        splits[split] = examine(tmp_path / f"{split}.npz", split, rule_sign=rule.sign)
    files = {"calibration": "a", "test": "b", "costs": "c"}
    manifest = describe(files, splits["calibration"], splits["test"], EXITS)
    read = {}
    for split, own in splits.items():
        path = tmp_path / f"{split}.parquet"
        provenance = own.records.provenance | {"span": manifest["span"]}
        write_records(
            path,
            from_external(
                own.records.index, own.records.uncertainty, own.records.correct, provenance
            ),
        )
        read[split] = read_records(path)
        np.testing.assert_array_equal(read[split].uncertainty, own.records.uncertainty)
    draw(tmp_path, read["calibration"], read["test"], manifest, rule)


def draw(folder, calibration, test, manifest, rule):
    """The figures whose axes are thresholds or follow from them."""
    criterion = ExitCriterion("external", rule)
    stage, nothing = np.diff(MACS, prepend=0.0), np.zeros(EXITS)
    unknown = [np.full((1, EXITS), np.nan)] * 3
    costs = CostModel(stage, nothing, np.array([1.0]), *unknown, 1)
    targets = [Target("accuracy", 0.5), Target("drop", 0.1), Target("macs_share", 0.9)]
    methods = ("uniform", "coordinate", "percentile")
    points = [calibrate(method, calibration, costs, targets, criterion) for method in methods]
    policy = policy_of(points[0].iloc[1])
    grid = threshold_grid("external", 2, 50, manifest["span"])
    assert np.isfinite(grid).all()
    run = simulated(policy, test)
    own = {"method": "uniform", "target": 0.1, "target_kind": "drop", "certificate": None}
    chosen = own | {"policy": policy.to_json(), "why": ""}
    result = evaluate(policy, test, run, None, costs, None)
    result |= {"timing": None, "doubt": None}
    tables = {
        "sweep": sweep(test, costs, criterion, grid),
        "points": points_on_test(points, policy, test, costs),
        "summary": summarise("made", None, manifest, calibration, test, chosen, result),
    }
    for name in ("sweep", "operating_points"):
        save_figure(name, tables, folder)
        assert "nan" not in (folder / f"{name}.txt").read_text()
