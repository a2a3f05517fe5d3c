from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from PIL import Image

from early_exit import figures, frontier, study
from early_exit.calibration import calibrate
from early_exit.evaluation import (
    Agreement,
    compare,
    evaluate,
    per_class,
    per_exit,
    points_on_test,
    simulated,
)
from early_exit.figures.style import styled
from early_exit.operating_point import policy_of
from early_exit.outcomes import Outcomes
from early_exit.policy import ExitRule
from early_exit.quality import of_exits
from early_exit.replication import replicate
from early_exit.summary import summarise
from early_exit.sweep import sweep, threshold_grid
from early_exit.targets import Target
from early_exit.temperature import fit
from helpers import make_costs, make_records, sees

ROOT = Path(__file__).parents[2]


def compared(calibration, test, costs):
    """What frontier, quality and study give, in small."""
    methods = ["exact_grid", "uniform", "certified"]
    chosen = frontier.policies(calibration, costs, sees(), methods, 4, 0.1)
    targets = [Target("macs_share", 0.5), Target("drop", 0.1)]
    pool = study.pool(calibration, test)
    runs = study.compare(pool, costs, sees(), True, methods, targets, 60, 2)
    quality, reliability = of_exits(test, fit(calibration), ["entropy"])
    return {
        "frontier": frontier.on_test(chosen, sees(), test, costs),
        "study": study.summarise(runs.assign(measure="entropy", scaled=True)),
        "quality": quality,
        "reliability": reliability,
    }


@pytest.fixture(scope="module")
def tables():
    """What a finished experiment of three exits gives to its figures."""
    calibration, test, costs = make_records(seed=1), make_records(seed=2), make_costs()
    targets = [Target("accuracy", 0.5), Target("drop", 0.1), Target("macs_share", 0.7)]
    points = calibrate("percentile", calibration, costs, targets, sees())
    policy = policy_of(points.iloc[2], sees())
    taken = policy.exits_taken(test.entropy)
    rows = range(len(test))
    run = Outcomes(test.prediction[rows, taken], taken, test.entropy[rows, taken])
    assert compare(policy, test, run) == Agreement(60, 0, 0)
    chosen = {"policy": policy.to_json(), "method": "percentile", "target": 0.7, "why": ""}
    chosen |= {"target_kind": "macs_share", "certificate": None}
    measured = {"static": 2.0, "all_heads": 2.5, "policy": 1.0, "ideal": 0.9}
    evaluation = evaluate(policy, test, run, Agreement(60, 0, 0), costs, measured)
    evaluation["timing"] = {"batch_size": 8, "threads": 2}
    manifest = {"dataset": "made", "classes": 4}
    grid = threshold_grid("entropy", 4, 20)
    return {
        "sweep": pd.concat([sweep(test, costs, sees(3, rule), grid) for rule in ExitRule]),
        "points": points_on_test([points], policy, test, costs),
        "per_exit": per_exit(policy, test, run, costs),
        "per_class": per_class(
            test, run, dict(enumerate(["ant", "b_$e", "cow", "a name of more than 24 letters"]))
        ),
        "summary": summarise("made", "small", manifest, calibration, test, chosen, evaluation),
        "speed": pd.DataFrame(
            {
                "precision": ["fp32"] * 2 + ["bf16"] * 2,
                "batch_size": [1, 8] * 2,
                "static": [2.0, 1.0, 1.8, 0.9],
                "all_heads": [2.2, 1.1, 2.0, 1.0],
                "dynamic": [1.0, 0.6, 0.9, 0.5],
                "ideal": [0.9, 0.55, 0.8, 0.45],
                "overhead": [1.11, 1.09, 1.12, 1.11],
                "speedup": [2.0, 1.67, 2.0, 1.8],
                "accuracy": [0.83] * 4,
                "break_even": [0.2, 0.15, None, None],
            }
        ),
        "predicted": pd.DataFrame(
            {
                "predicted": [1.0, 0.5],
                "measured": [1.1, 0.5],
                "early": [0.2, 0.8],
                "error": [-0.09, 0.0],
            }
        ),
        "experiment": "made",
        **compared(calibration, test, costs),
        "training": pd.DataFrame(
            {
                "epoch": [1, 2],
                "loss": [1.5, 0.75],
                "accuracy_1": [0.2, 0.4],
                "accuracy_2": [0.3, 0.6],
                "seconds": [60.0, 30.0],
            }
        ),
        "machine": {"as_published": "branchynet", "as_published_ms": 3.0, "policy_ms": 0.6},
        "replication": replicate(*[make_records(600, 6, 10, seed) for seed in (3, 4)]),
    }


NAMES = ["sweep", "operating_points", "exit_shares", "exit_accuracy", "replication", "speed"]
NAMES += ["learning_curve", "frontier", "reliability", "study", "per_class"]


@pytest.mark.parametrize("name", NAMES)
def test_drawn_twice_alike_with_a_caption_that_states_numbers(tables, tmp_path, name):
    figures.save(name, tables, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"{name}{suffix}" for suffix in (".png", ".svg", ".txt")
    ]
    with Image.open(tmp_path / f"{name}.png") as picture:
        assert picture.width > 1000
    caption = (tmp_path / f"{name}.txt").read_text()
    assert "%" in caption
    assert len(caption) < 600
    first = (tmp_path / f"{name}.svg").read_text()
    figures.save(name, tables, tmp_path)
    assert (tmp_path / f"{name}.svg").read_text() == first


@pytest.mark.parametrize("name", NAMES)
def test_no_title_runs_off_the_figure(tables, name):
    # The longest title of the frontier's gaps: a long name first, and another method far below it.
    methods = tables["frontier"].method.replace("exact_grid", "dynamic_programming")
    low = tables["frontier"].accuracy - 0.1 * (methods == "uniform")
    own = tables | {"frontier": tables["frontier"].assign(method=methods, accuracy=low)}
    with styled():
        figure = import_module(f"early_exit.figures.{name}").draw(own)
        figure.draw_without_rendering()
        for axes in figure.axes:
            title = axes.title.get_window_extent()
            assert figure.bbox.x0 <= title.x0 <= title.x1 <= figure.bbox.x1, axes.get_title()
        pyplot.close(figure)


@pytest.mark.parametrize(("unit", "other"), [("macs", "ms"), ("ms", "macs")])
def test_what_is_simulated_is_drawn_in_the_unit_that_has_prices(tables, tmp_path, unit, other):
    nothing = np.full(3, np.nan)
    without = {
        "macs": {"stage_macs": nothing, "head_macs": nothing},
        "ms": dict.fromkeys(("stage_ms", "head_ms", "overhead_ms"), nothing[None]),
    }
    calibration, test = make_records(seed=1), make_records(seed=2)
    costs = replace(make_costs(), **without[other])
    targets = [Target("accuracy", 0.5), Target(f"{unit}_share", 0.7)]
    points = calibrate("percentile", calibration, costs, targets, sees(), unit)
    policy = policy_of(points.iloc[1], sees())
    run = simulated(policy, test)
    result = evaluate(policy, test, run, None, costs, None) | {"timing": None}
    chosen = {"policy": policy.to_json(), "method": "percentile", "target": 0.7, "why": ""}
    chosen |= {"target_kind": f"{unit}_share", "certificate": None}
    manifest = {"dataset": "records", "classes": 4}
    frontiers = frontier.policies(calibration, costs, sees(), ["uniform", "certified"], 4, 0.1)
    own = {
        "sweep": sweep(test, costs, sees(), threshold_grid("entropy", 4, 20)),
        "points": points_on_test([points], policy, test, costs),
        "per_exit": per_exit(policy, test, run, costs),
        "summary": summarise("made", None, manifest, calibration, test, chosen, result),
        "frontier": frontier.on_test(frontiers, sees(), test, costs),
    }
    drawn = {}
    for name in [*NAMES[:4], "frontier"]:
        figures.save(name, tables | own, tmp_path)
        drawn[name] = (tmp_path / f"{name}.svg").read_text()
        caption = (tmp_path / f"{name}.txt").read_text()
        assert "nan" not in caption
        assert "really" not in caption
    axis = {"macs": "MACs per picture (millions)", "ms": "time per picture (ms)"}
    for name in ("sweep", "operating_points"):
        assert axis[unit] in drawn[name]
        assert axis[other] not in drawn[name]
        assert "predicted" not in drawn[name]
    assert f"{'MACs' if unit == 'macs' else 'time'} per picture, of the whole" in drawn["frontier"]


def test_every_figure_has_a_report_caption():
    for name in NAMES:
        assert (ROOT / f"rules/report/{name}.rst").exists()


def test_axes_have_units_and_the_marks_are_there(tables, tmp_path):
    for name in ("sweep", "operating_points"):
        figures.save(name, tables, tmp_path)
        text = (tmp_path / f"{name}.svg").read_text()
        for expected in ("(ms", "(%)", "whole network", "chosen policy"):
            assert expected in text, (name, expected)
    assert "threshold (nats)" in (tmp_path / "sweep.svg").read_text()
    for target in ("0.5", "drop 0.1", "70 % of MACs"):
        assert target in (tmp_path / "operating_points.svg").read_text()


def test_of_many_classes_the_least_accurate_are_drawn(tables, tmp_path):
    one = tables["per_class"].iloc[:1]
    many = [one.assign(class_name=f"class {n}", accuracy=n / 40) for n in range(30)]
    nobody = one.assign(class_name="class of nobody", samples=0, accuracy=float("nan"))
    own = tables | {"per_class": pd.concat([*many, nobody], ignore_index=True)}
    figures.save("per_class", own, tmp_path)
    text = (tmp_path / "per_class.svg").read_text()
    assert "the 20 least accurate classes" in text
    assert ("class 19" in text, "class 20" in text, "nobody" in text) == (True, False, False)
    caption = (tmp_path / "per_class.txt").read_text()
    assert caption.startswith(
        "Of 30 classes, class 0 is least often right (0.0%) and class 29 most"
    )


def test_the_learning_curve_states_where_training_ended(tables, tmp_path):
    figures.save("learning_curve", tables, tmp_path)
    caption = (tmp_path / "learning_curve.txt").read_text()
    assert "2 epochs in 1.5 minutes; the loss went from 1.500 to 0.750." in caption
    assert "40.0%, 60.0%" in caption
    text = (tmp_path / "learning_curve.svg").read_text()
    for expected in ("exit 1: 40.0 %", "exit 2: 60.0 %", "epoch", "loss", "(%)"):
        assert expected in text
