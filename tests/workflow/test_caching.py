"""What is computed again, and what is not: asserted on a real, finished run."""

import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
import yaml

from conftest import SMALL, Project, copy_of_project
from early_exit.config.fingerprint import reachable
from early_exit.records.uncertainty.measures import NAMES

pytestmark = pytest.mark.thorough

SUMMARISED = {"write_summary", "make_explorer"}
AFTER_SELECTION = {
    *("select_policy", "evaluate_policy", "simulate_policies"),
    *("count_uncertainty", "draw_samples", *SUMMARISED),
}
SWEEP_DRAWN = {"draw_sweep", "all"}
DRAWN = SWEEP_DRAWN | {
    *("draw_operating_points", "draw_exit_shares", "draw_exit_accuracy", "draw_per_class"),
    *("draw_targets", "draw_uncertainty", "draw_cost", "draw_frontier", "write_pages"),
}
ITS_METHODS = {
    *("find_frontier", "join_frontier", "measure_frontier", "show_table"),
    *("draw_frontier", "draw_methods", "draw_attainable", "make_explorer", "all"),
}
FRONTIER = ITS_METHODS | {"find_references"}
# The published way, which stands beside the methods, takes percentiles.
PUBLISHED = FRONTIER - {"find_frontier"}
RELIABILITY = {
    *("fit_temperatures", "measure_reliability", "draw_reliability", "show_table", "all"),
}
EVERY_FIGURE = {
    *("draw_learning_curve", "draw_methods", "draw_attainable", "draw_reliability"),
    "draw_samples",
    *(DRAWN - {"write_pages"}),
}
AFTER_CALIBRATION = {"calibrate_thresholds"} | AFTER_SELECTION | DRAWN
AFTER_COST = {"measure_cost", "sweep_thresholds"} | AFTER_CALIBRATION | FRONTIER
AFTER_EXITS = {"record_exits", "sweep_thresholds"} | AFTER_CALIBRATION | FRONTIER | RELIABILITY
AFTER_TRAINING = {"train_network", "draw_learning_curve"} | AFTER_EXITS | AFTER_COST
EVERYTHING = {"prepare_data"} | AFTER_TRAINING


def planned(project) -> set[str]:
    """The rules that a dry run plans; of ``draw_figure``, which figures: ``draw_sweep``."""
    shown = project.run("-n", check=True)
    text = shown.stdout + shown.stderr
    if "Nothing to be done" in text:
        return set()
    found = set(re.findall(r"^(?:local)?rule (\w+):", text, re.MULTILINE))
    drawn = set(re.findall(r"^ +wildcards: .*figure=(\w+)", text, re.MULTILINE))
    assert bool(drawn) == ("draw_figure" in found)
    return found - {"draw_figure"} | {f"draw_{figure}" for figure in drawn}


def settings(project, experiment=None, **config):
    """Change the configuration: the experiment's own settings, and the top level."""
    path = project.folder / "config.yaml"
    current = yaml.safe_load(path.read_text())
    for key, value in (experiment or {}).items():
        own = current["experiments"]["small"]
        own[key] = own.get(key, {}) | value if isinstance(value, dict) else value
    project.configure(**(current | config))


def test_nothing_after_a_finished_run(finished):
    assert planned(finished) == set()


def test_nothing_after_a_touch(finished):
    later = time.time() + 100
    for path in finished.folder.rglob("*"):
        if ".snakemake" not in path.parts and path.is_file():
            os.utime(path, (later, later))
            later += 0.01
    assert planned(finished) == set()


def test_nothing_after_a_comment_or_a_docstring(finished):
    for path in (finished.folder / "scripts").rglob("*.py"):
        text = path.read_text()
        path.write_text("# A remark.\n" + text.replace('"""\n', ' And more."""\n', 1))
    finished.edit("rules/exits.smk", "rule record_exits:", "# A remark.\nrule record_exits:")
    assert planned(finished) == set()


@pytest.mark.parametrize("metadata", [True, False])
def test_nothing_in_a_fresh_clone_with_the_results_copied_in(finished, tmp_path, metadata):
    """`cp -a results` is enough; with `.snakemake`, later edits are seen as well."""
    folder = tmp_path / "clone"
    folder.mkdir()
    clone = copy_of_project(folder)
    later = time.time() + 100
    for path in folder.rglob("*.py"):
        os.utime(path, (later, later))
    shutil.copytree(finished.folder / "results", folder / "results")
    if metadata:
        shutil.copytree(finished.folder / ".snakemake", folder / ".snakemake")
    assert planned(clone) == set()
    if metadata:
        clone.edit("scripts/early_exit/figures/style.py", '"#0072B2"', '"#0072B3"')
        assert planned(clone) == EVERY_FIGURE


def test_nothing_in_a_copy_that_lost_its_times(finished, tmp_path):
    folder = tmp_path / "clone"
    folder.mkdir()
    clone = copy_of_project(folder)
    for part in ("results", ".snakemake"):
        # Files come out in whatever order: a later step may look older than an earlier one.
        shutil.copytree(finished.folder / part, folder / part, copy_function=shutil.copyfile)
    assert planned(clone) == set()


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        (
            "calibration/methods/percentile.py",
            "1.0 - desired",
            "0.9 - desired",
            AFTER_CALIBRATION | PUBLISHED,
        ),
        ("calibration/calibrate.py", '"method": method', '"method": method + ""', "calibration"),
        ("calibration/methods/certified.py", "STEPS = 400", "STEPS = 401", ITS_METHODS),
        ("calibration/methods/distribution.py", "0.02, 50.0", "0.01, 50.0", set()),
        ("analysis/frontier.py", "PUBLISHED_DESIRED = 0.80", "PUBLISHED_DESIRED = 0.81", FRONTIER),
        ("calibration/temperature.py", "1e-6", "1e-7", RELIABILITY),
        ("figures/style.py", '"font.size": 10', '"font.size": 11', EVERY_FIGURE),
        ("figures/sweep.py", "figsize=(13, 4.6)", "figsize=(13, 4.5)", SWEEP_DRAWN),
        ("analysis/summary.py", '"experiment": experiment', '"experiment": str(experiment)', None),
        ("policy/sweep.py", "span or (0.0,", "span or (-0.0,", "sweep"),
        ("inference/exits.py", "torch.cat(logits)", "torch.cat([*logits])", AFTER_EXITS),
        ("inference/macs.py", "// 2", "// 2 + 0", AFTER_COST),
        ("training/loop.py", "loss.backward()", "loss.backward(); del right", "network"),
        ("networks/zoo/branchynet.py", "HIDDEN = 128", "HIDDEN = 64 * 2", "network"),
        ("datasets/digits.py", "TEST = 450", "TEST = 451", EVERYTHING),
        ("datasets/cifar.py", "CALIBRATION = 5000", "CALIBRATION = 5001", set()),
        ("analysis/reproduction.py", "CUTOFF = 0.6", "CUTOFF = 0.7", set()),
        ("records/uncertainty/margin.py", "+ 1.0", "+ 2.0", RELIABILITY - {"fit_temperatures"}),
        ("analysis/selection.py", "ratio.idxmax()", "ratio.argmax()", "selection"),
        # Not Python: a parameter of its own.
        ("explorer/model.js", "const BINS = 40", "const BINS = 41", {"make_explorer", "all"}),
    ],
)
def test_exactly_what_depends_on_an_edit_in_the_library(finished, path, old, new, expected):
    finished.edit(f"scripts/early_exit/{path}", old, new)
    named = {
        None: SUMMARISED | DRAWN,
        "network": AFTER_TRAINING,
        "selection": AFTER_SELECTION | DRAWN,
        "calibration": AFTER_CALIBRATION | FRONTIER,
        # The method `uniform`, which is on the frontier, is a sweep.
        "sweep": {"sweep_thresholds"} | SWEEP_DRAWN | ITS_METHODS,
    }
    expected = expected if isinstance(expected, set) else named[expected]
    assert planned(finished) == expected


@pytest.mark.parametrize(
    ("experiment", "expected"),
    [
        ({"sweep": {"points": 50}}, {"sweep_thresholds"} | SWEEP_DRAWN),
        ({"calibration": {"targets": [0.3, 0.6, 0.9, 0.95]}}, AFTER_CALIBRATION),
        ({"selection": {"latency_budget_ms": 999.0}}, AFTER_SELECTION | DRAWN),
        ({"cost": {"repeats": 4}}, AFTER_COST),
        ({"training": {"epochs": 2}}, AFTER_TRAINING),
        ({"seed": 1}, AFTER_TRAINING),
        ({"exit_rule": "above"}, AFTER_CALIBRATION | FRONTIER),
        ({"frontier": {"budgets": 5}}, ITS_METHODS),
        ({"temperature_scaling": True}, AFTER_CALIBRATION | FRONTIER | {"sweep_thresholds"}),
        ({"study": {"splits": 7}}, set()),
        ({"evaluation": {"timed_batches": 3}}, {"evaluate_policy"} | SUMMARISED | DRAWN),
        ({"description": "Other words."}, set()),
        ({"training": {"threads": 1}}, set()),
        ({"dataset": {"mirrors": ["https://example.org/x"]}}, set()),
    ],
)
def test_exactly_what_depends_on_a_setting(finished, experiment, expected):
    settings(finished, experiment)
    assert planned(finished) == expected


def test_a_new_desired_accuracy_runs_no_pass_over_a_split(finished):
    settings(finished, {"calibration": {"targets": [0.5]}})
    plan = planned(finished)
    assert "calibrate_thresholds" in plan
    assert not plan & {"train_network", "record_exits", "measure_cost"}


@pytest.mark.parametrize(
    "module", ["policy/costs", "policy/policy", "analysis/selection", "calibration/calibrate"]
)
def test_an_edit_in_code_for_records_runs_no_pass_over_a_split(finished, module):
    with open(finished.folder / f"scripts/early_exit/{module}.py", "a") as file:
        file.write("\nMORE = 1\n")
    plan = planned(finished)
    assert "select_policy" in plan
    assert not plan & {"prepare_data", "train_network", "record_exits", "measure_cost"}


def test_the_path_of_the_data_is_not_part_of_a_result(finished):
    settings(finished, data_dir="elsewhere")
    assert planned(finished) == set()


def test_a_checkpoint_trains_no_baseline_again(extras_once, tmp_path):
    """As docs/networks.md says: train, ship, and name what was shipped as the checkpoint."""
    folder = tmp_path / "shipped"
    shutil.copytree(extras_once.folder, folder, symlinks=True)
    project = Project(folder)
    settings(project, {"network": {"checkpoint": "checkpoints/branchynet-digits.safetensors"}})
    plan = set(project.planned("baselines"))
    assert "import_network" in plan
    assert not plan & {"train_baseline", "train_network"}


def test_a_missing_table_is_made_again_and_nothing_before_it(finished):
    finished.path("calibration/percentile.csv").unlink()
    assert set(finished.planned("calibrate")) == {"calibrate_thresholds", "calibrate"}


def test_a_rerun_after_an_edit_does_what_was_planned(finished):
    finished.edit("scripts/early_exit/figures/style.py", '"#0072B2"', '"#123456"')
    finished.run("--cores", "2", check=True)
    assert "#123456" in finished.path("figures/exit_accuracy.svg").read_text()
    assert planned(finished) == set()


def test_the_fingerprints_cover_every_module_that_a_job_used(finished):
    """A module that a job imports, but its fingerprint does not follow, would go stale unseen."""
    scripts = finished.folder / "scripts"
    sys.path.append(str(scripts))
    for rules in (finished.folder / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", rules.read_text(), flags=re.MULTILINE)[1:]:
            for log in logs_of(finished, rule):
                named = [script_of(rule), *chosen_by(rule, log)]
                covered = reachable(scripts, *named)
                used = re.search(r"Library modules used: (.*)", log.read_text())[1].split()
                assert set(used) <= covered, (log.name, set(used) - covered)


def logs_of(project, rule: str) -> list[Path]:
    found = re.search(r'log:\n +"results/\{experiment\}/logs/(.*)\.log"', rule)
    # `small` is trained, and is no published experiment.
    if not found or "reproduction" in found[1] or "network_import" in rule:
        return []
    wanted = re.sub(r"\{\w+\}", "*", found[1]) + ".log"
    return sorted(project.path("logs").glob(wanted))


def script_of(rule: str) -> str:
    return re.search(r'scripts/(\w+)\.py"', rule)[1]


def chosen_by(rule: str, log: Path) -> list[str]:
    """The modules that the rule names besides its script, for the experiment `small`."""
    of_methods, call = re.search(r"code=code(_of_methods)?\((.*?)\),\n", rule, re.DOTALL).groups()
    if of_methods:
        methods = ["percentile", *SMALL["frontier"]["methods"]]
        modules = [f"calibration.methods.{method}" for method in methods]
        return [f"early_exit.{module}" for module in ["records.uncertainty.entropy", *modules]]
    if "PLAIN" in call:
        measures = ("entropy", "max_probability", "margin")
        return [f"early_exit.records.uncertainty.{name}" for name in measures]
    fields = {
        "network": {"name": "branchynet"},
        "dataset": {"name": "digits"},
        "measure": "entropy",
        "method": "percentile",
        "figure": log.stem.removeprefix("figures_"),
    }
    modules = [name for name in re.findall(r'"([^"]+)"', call)[1:] if "{name}" not in name]
    if "MEASURES" in call:
        modules += [f"records.uncertainty.{name}" for name in NAMES]
    if "frontier_policies" in call:
        fields["method"] = "uniform"
        modules += [f"calibration.methods.{method}" for method in SMALL["frontier"]["methods"]]
    return [f"early_exit.{module}".format(**fields) for module in modules]
