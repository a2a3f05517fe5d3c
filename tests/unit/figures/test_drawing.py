import ast
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from PIL import Image

from drawn import FIGURES, faults, tables_of, training
from early_exit.analysis import frontier
from early_exit.analysis.evaluation import (
    evaluate,
    per_exit,
    points_on_test,
    simulated,
)
from early_exit.analysis.summary import summarise
from early_exit.analysis.times import TIMES_DOUBTED
from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.targets import Target
from early_exit.figures.samples import choose
from early_exit.figures.save import save_figure
from early_exit.figures.style import GREY, RED, styled
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import policy_of
from early_exit.policy.sweep import sweep, threshold_grid
from helpers import make_costs, make_records

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def tables():
    """The tables of a finished experiment with three exits."""
    return tables_of()


NAMES = list(FIGURES)
BY_COST = ("sweep", "operating_points")


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_reproducible_and_captions_state_numbers(tables, tmp_path, name):
    save_figure(name, tables, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"{name}{suffix}" for suffix in (".png", ".svg", ".txt")
    ]
    with Image.open(tmp_path / f"{name}.png") as image:
        assert image.width > 1000
    caption = (tmp_path / f"{name}.txt").read_text()
    assert re.search(r"\d", caption)
    # As it is shown in the report: one paragraph, nothing to escape.
    assert not set(caption.strip()) & set('\n"{}<>')
    assert len(caption) < 900
    first = (tmp_path / f"{name}.svg").read_text()
    save_figure(name, tables, tmp_path)
    assert (tmp_path / f"{name}.svg").read_text() == first


@pytest.mark.parametrize(("unit", "other"), [("macs", "ms"), ("ms", "macs")])
def test_simulated_results_are_drawn_in_the_unit_with_costs(tables, tmp_path, unit, other):
    nothing = np.full(3, np.nan)
    without = {
        "macs": {"stage_macs": nothing, "head_macs": nothing},
        "ms": dict.fromkeys(("stage_ms", "head_ms", "overhead_ms"), nothing[None]),
    }
    calibration, test = make_records(seed=1), make_records(seed=2)
    costs = replace(make_costs(), **without[other])
    targets = [Target("accuracy", 0.5), Target(f"{unit}_share", 0.7)]
    points = calibrate("percentile", calibration, costs, targets, ExitCriterion(), unit)
    policy = policy_of(points.iloc[1])
    run = simulated(policy, test)
    result = evaluate(policy, test, run, None, costs, None) | {"timing": None}
    chosen = {"policy": policy.to_json(), "method": "percentile", "target": 0.7, "why": ""}
    chosen |= {"target_kind": f"{unit}_share", "certificate": None}
    manifest = {"dataset": "records", "classes": 4}
    frontiers = frontier.policies(
        calibration, costs, [ExitCriterion()], ["uniform", "certified"], 4, 0.1
    )
    own = {
        "sweep": sweep(test, costs, ExitCriterion(), threshold_grid("entropy", 4, 20)),
        "points": points_on_test([points], policy, test, costs),
        "per_exit": per_exit(policy, test, run, costs),
        "summary": summarise("made", None, manifest, calibration, test, chosen, result),
        "frontier": frontier.on_test(frontiers, test, costs),
    }
    drawn = {}
    for name in (*BY_COST, "targets", "exit_shares", "exit_accuracy", "frontier"):
        save_figure(name, tables | own, tmp_path)
        drawn[name] = (tmp_path / f"{name}.svg").read_text()
        caption = (tmp_path / f"{name}.txt").read_text()
        assert "nan" not in caption
        assert "easured" not in caption
    axis = {"macs": "MACs per sample (millions)", "ms": "time per sample (ms)"}
    for name in BY_COST:
        assert axis[unit] in drawn[name]
        assert axis[other] not in drawn[name]
        assert "predicted" not in drawn[name]
    assert (
        f"{'MACs' if unit == 'macs' else 'time'} per sample on test (% of the full network)"
        in drawn["frontier"]
    )


def test_every_figure_has_its_tables_and_a_place_in_the_report():
    rules = (ROOT / "rules/figures.smk").read_text()
    modules = {path.stem for path in (ROOT / "scripts/early_exit/figures").glob("*.py")}
    modules -= {"__init__", "save", "style"}
    figures, story = (
        ast.literal_eval(re.search(rf"^{name} = (\{{.*?^\}})", rules, re.M | re.S)[1])
        for name in ("FIGURES", "STORY")
    )
    # Those of samples read the data set as well, and have a rule of their own.
    assert figures.keys() | {"samples"} == modules == set(FIGURES)
    placed = [name for part in story.values() for name in part]
    assert sorted(placed) == sorted(modules)


def test_axes_have_units_and_marks_are_labelled(tables, tmp_path):
    for name in BY_COST:
        save_figure(name, tables, tmp_path)
        text = (tmp_path / f"{name}.svg").read_text()
        for expected in ("(ms", "(%)", "full network", "chosen policy"):
            assert expected in text, (name, expected)
    assert "threshold (nats)" in (tmp_path / "sweep.svg").read_text()
    save_figure("targets", tables, tmp_path)
    for target in ("accuracy at least 50 %", "drop at most 10 points", "at most 70 % of MACs"):
        assert target in (tmp_path / "targets.svg").read_text()


@pytest.mark.parametrize(("methods", "panels"), [(["uniform", "certified"], 3), (["certified"], 2)])
def test_measures_are_compared_where_there_are_budgets(methods, panels):
    calibration, test, costs = make_records(seed=1), make_records(seed=2), make_costs()
    criteria = [ExitCriterion("margin"), ExitCriterion("entropy")]
    chosen = frontier.policies(calibration, costs, criteria, methods, 4, 0.1)
    tables = {"frontier": frontier.on_test(chosen, test, costs), "experiment": "small"}
    figure = import_module("early_exit.figures.methods").draw(tables)
    assert len(figure.axes) == panels
    pyplot.close(figure)


def test_only_the_least_accurate_of_many_classes_are_drawn(tables, tmp_path):
    one = tables["per_class"].iloc[:1]
    many = [one.assign(class_name=f"class {n}", accuracy=n / 40) for n in range(30)]
    empty = one.assign(class_name="empty class", samples=0, accuracy=float("nan"))
    own = tables | {"per_class": pd.concat([*many, empty], ignore_index=True)}
    save_figure("per_class", own, tmp_path)
    text = (tmp_path / "per_class.svg").read_text()
    assert "the 20 least accurate classes" in text
    assert ("class 19" in text, "class 20" in text, "empty" in text) == (True, False, False)
    caption = (tmp_path / "per_class.txt").read_text()
    assert caption.startswith(
        "Of 30 classes, class 0 has the lowest accuracy (0.0%) and class 29 the highest"
    )


def test_the_learning_curve_states_where_training_ended(tables, tmp_path):
    save_figure("learning_curve", tables, tmp_path)
    caption = (tmp_path / "learning_curve.txt").read_text()
    assert "2 epochs in 1.5 minutes; the loss went from 1.500 to 0.750." in caption
    assert "40.0%, 45.0%, 50.0%" in caption
    text = (tmp_path / "learning_curve.svg").read_text()
    for expected in ("exit 1: 40.0 %", "exit 3: 50.0 %", "epoch", "loss", "(%)"):
        assert expected in text


@pytest.mark.parametrize("exits", [2, 3, 12])
def test_the_learning_curve_has_held_out_samples_with_their_interval(exits):
    log = training(exits)
    held = {f"held_out_{k}": [0.5, 0.5 + 0.02 * k] for k in range(1, exits + 1)}
    own = {"experiment": "made", "training": log.assign(**held, held_out_samples=100)}
    figure = drawn("learning_curve", own)
    assert list(faults(figure)) == []
    _, train, apart = figure.axes
    assert train.get_ylim() == apart.get_ylim()
    assert len(apart.collections) == len(apart.lines) == exits
    # The Wilson interval of 52 of 100.
    band = apart.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((40.38, 61.54), abs=0.01)
    assert "exit 1: 40.0 %, held out 52.0 %" in train.get_legend_handles_labels()[1]
    text = import_module("early_exit.figures.learning_curve").caption(own)
    assert "On 100 samples of the train split that were held out" in text
    assert "52.0%, 54.0%" in text


def drawn(name, tables):
    """The figure, which the test closes."""
    with styled():
        return import_module(f"early_exit.figures.{name}").draw(tables)


@pytest.fixture(autouse=True)
def _close():
    yield
    pyplot.close("all")


def labels(figure) -> str:
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return " ".join(legends).replace("\n", " ")


@pytest.mark.parametrize("published", [True, False])
def test_the_published_policy_and_rule_are_drawn_for_the_published_network_alone(tables, published):
    own = tables | {"published": published}
    assert ("as published" in labels(drawn("frontier", own))) == published
    assert ("above the threshold" in labels(drawn("sweep", own))) == published
    assert ("published" in import_module("early_exit.figures.frontier").caption(own)) == published


def test_the_chosen_policy_is_on_the_frontier(tables):
    own, full = tables["summary"]["selected"], tables["summary"]["full_network"]
    (star,) = (line for line in drawn("frontier", tables).axes[0].lines if line.get_marker() == "*")
    assert star.get_xdata() == pytest.approx([own["macs"] / full["macs"]])
    assert star.get_ydata() == pytest.approx([100 * own["accuracy"]])


def test_a_doubt_about_times_is_on_the_axis_of_times():
    own = tables_of(doubt=f"{TIMES_DOUBTED}: the machine was busy")
    for name, which in (("operating_points", "predicted"), ("sweep", "predicted")):
        axes = drawn(name, own).axes[-1]
        assert f"(ms, {which}, in doubt)" in axes.get_xlabel()
        assert axes.xaxis.label.get_color() == RED
    assert "(ms, measured, in doubt)" in drawn("cost", own).axes[1].get_ylabel()
    assert "in doubt" in import_module("early_exit.figures.operating_points").caption(own)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"predicted_ms": 0.3}, "the full network, 91.0% accurate is 1.1 ms (0.3 predicted)"),
        ({"p50_ms_low": 0.1}, "medians varied between rounds by more than a factor of 1.5"),
        ({"predicted_ms": None}, ""),
    ],
)
def test_latencies_in_doubt_say_why(tables, change, reason):
    own = tables | {"latency": tables["latency"].assign(**change).astype({"predicted_ms": float})}
    assert ("in doubt" in drawn("latency", own).axes[0].get_xlabel()) is bool(reason)
    text = import_module("early_exit.figures.latency").caption(own)
    assert reason in text
    assert ("These times are in doubt: " in text) is bool(reason)


def test_few_samples_are_grey_and_do_not_stretch_the_axis(tables):
    per_exit = pd.DataFrame(
        {"exit": ["1", "2", "3"], "exited": [970, 1, 29], "accuracy": [0.96, 0.0, 0.2]}
    )
    summary = tables["summary"] | {"per_exit_accuracy": [0.95, 0.96, 0.97]}
    summary |= {"samples": {"test": 1000}, "full_network": {"accuracy": 0.97}}
    summary |= {"selected": summary["selected"] | {"accuracy": 0.955}}
    axes = drawn("exit_accuracy", {"summary": summary, "per_exit": per_exit}).axes[0]
    assert axes.get_ylim()[0] > 90
    (few,) = (line for line in axes.lines if "fewer than" in line.get_label())
    assert few.get_color() == GREY
    assert few.get_ydata().tolist() == [0, 20]


def test_no_line_runs_through_bins_of_few_samples(tables):
    bins = pd.DataFrame(
        {"exit": 1, "scaled": False, "confidence": [0.2, 0.5, 0.8], "samples": [50, 29, 50]}
    ).assign(accuracy=[0.2, 0.0, 0.8])
    exits = tables["exits"][tables["exits"].exit == 1]
    axes = drawn("reliability", tables | {"bins": bins, "exits": exits}).axes[0]
    lines = [line for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata())]
    assert [line.get_xdata().tolist() for line in lines] == [[20, 80]]


def test_only_a_handful_of_policies_has_a_bar():
    targets = [Target("accuracy", 0.4 + 0.02 * n) for n in range(30)]
    own = tables_of(targets=targets, methods=("coordinate", "uniform"), samples=300)
    axes = drawn("exit_shares", own).axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert len(names) <= 6
    assert names[-1].startswith("full network")


def test_asked_and_obtained_of_every_target(tables):
    (left, right) = drawn("targets", tables).axes
    assert len(left.get_yticks()) == 3
    points = tables["points"]
    full = points[points.method == "full_network"].iloc[0]
    asked = {
        round(float(segment[0][0]), 6)
        for axes in (left, right)
        for lines in axes.collections
        for segment in lines.get_segments()
        if segment[0][0] == segment[1][0]
    }
    wanted = {50.0, round(100 * (full.accuracy - 0.1), 6), 70.0}
    assert wanted <= asked


def test_samples_are_chosen_wrong_ones_first_and_at_most_so_many():
    exits = np.array([1] * 50 + [3] * 5)
    right = np.array([False] * 20 + [True] * 30 + [False] * 5)
    found = choose(exits, right)
    assert list(found) == [1, 3]
    assert right[found[1]].tolist() == [False] * 4 + [True] * 8
    assert sorted(found[3]) == [50, 51, 52, 53, 54]
