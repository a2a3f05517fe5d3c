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
from early_exit.fingerprint import reachable

AFTER_SELECTION = {"select_policy", "evaluate_policy", "simulate_policies", "write_summary"}
DRAWN = {"draw_figures", "all"}
FRONTIER = {"find_frontier", "measure_frontier", "draw_frontier", "all"}
QUALITY = {"fit_temperatures", "measure_quality", "draw_quality", "all"}
EVERY_FIGURE = {"draw_learning_curve", "draw_frontier", "draw_quality"} | DRAWN
AFTER_CALIBRATION = {"calibrate_thresholds"} | AFTER_SELECTION | DRAWN
AFTER_COST = {"measure_cost", "sweep_thresholds"} | AFTER_CALIBRATION | FRONTIER
AFTER_EXITS = {"record_exits", "sweep_thresholds"} | AFTER_CALIBRATION | FRONTIER | QUALITY
AFTER_TRAINING = {"train_network", "draw_learning_curve"} | AFTER_EXITS | AFTER_COST
EVERYTHING = {"prepare_data"} | AFTER_TRAINING


def planned(project) -> set[str]:
    return set(project.planned())


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
        # Files come out in whatever order: a later stage may look older than an earlier one.
        shutil.copytree(finished.folder / part, folder / part, copy_function=shutil.copyfile)
    assert planned(clone) == set()


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("calibration/percentile.py", "1.0 - desired", "0.9 - desired", "calibration"),
        ("calibration/__init__.py", '"method": method', '"method": method + ""', "calibration"),
        ("calibration/certified.py", "STEPS = 400", "STEPS = 401", FRONTIER),
        ("calibration/distribution.py", "0.02, 50.0", "0.01, 50.0", set()),
        ("frontier.py", "PUBLISHED_DESIRED = 0.80", "PUBLISHED_DESIRED = 0.81", FRONTIER),
        ("temperature.py", "1e-6", "1e-7", QUALITY),
        ("figures/style.py", '"font.size": 10', '"font.size": 11', EVERY_FIGURE),
        ("figures/sweep.py", "figsize=(13, 4.4)", "figsize=(13, 4.5)", DRAWN),
        ("summary.py", '"experiment": experiment', '"experiment": str(experiment)', None),
        ("sweep.py", "span or (0.0,", "span or (-0.0,", "sweep"),
        ("extraction.py", "torch.cat(logits)", "torch.cat([*logits])", AFTER_EXITS),
        ("cost.py", "// 2", "// 2 + 0", AFTER_COST),
        ("training/loop.py", "loss.backward()", "loss.backward(); del right", "network"),
        ("networks/branchynet.py", "HIDDEN = 128", "HIDDEN = 64 * 2", "network"),
        ("datasets/digits.py", "TEST = 450", "TEST = 451", EVERYTHING),
        ("datasets/cifar.py", "CALIBRATION = 5000", "CALIBRATION = 5001", set()),
        ("replication.py", "CUTOFF = 0.6", "CUTOFF = 0.7", set()),
        ("uncertainty/margin.py", "1.0 - (", "2.0 - (", QUALITY - {"fit_temperatures"}),
        ("selection.py", "ratio.idxmax()", "ratio.argmax()", "selection"),
    ],
)
def test_exactly_what_depends_on_an_edit_in_the_library(finished, path, old, new, expected):
    finished.edit(f"scripts/early_exit/{path}", old, new)
    named = {
        None: {"write_summary"} | DRAWN,
        "network": AFTER_TRAINING,
        "selection": AFTER_SELECTION | DRAWN,
        "calibration": AFTER_CALIBRATION | FRONTIER,
        # The method `uniform`, which is on the frontier, is a sweep.
        "sweep": {"sweep_thresholds"} | DRAWN | FRONTIER,
    }
    expected = expected if isinstance(expected, set) else named[expected]
    assert planned(finished) == expected


@pytest.mark.parametrize(
    ("experiment", "expected"),
    [
        ({"sweep": {"points": 50}}, {"sweep_thresholds"} | DRAWN),
        ({"calibration": {"targets": [0.3, 0.6, 0.9, 0.95]}}, AFTER_CALIBRATION),
        ({"selection": {"latency_budget_ms": 999.0}}, AFTER_SELECTION | DRAWN),
        ({"cost": {"repeats": 4}}, AFTER_COST),
        ({"training": {"epochs": 2}}, AFTER_TRAINING),
        ({"seed": 1}, AFTER_TRAINING),
        ({"exit_rule": "above"}, AFTER_CALIBRATION | FRONTIER),
        ({"frontier": {"budgets": 5}}, FRONTIER),
        ({"temperature_scaling": True}, AFTER_CALIBRATION | FRONTIER | {"sweep_thresholds"}),
        ({"study": {"splits": 7}}, set()),
        ({"evaluation": {"timed_batches": 3}}, {"evaluate_policy", "write_summary"} | DRAWN),
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


@pytest.mark.parametrize("module", ["cost_model", "policy", "selection", "calibration/__init__"])
def test_an_edit_in_what_works_on_records_runs_no_pass_over_a_split(finished, module):
    with open(finished.folder / f"scripts/early_exit/{module}.py", "a") as file:
        file.write("\nMORE = 1\n")
    plan = planned(finished)
    assert "select_policy" in plan
    assert not plan & {"prepare_data", "train_network", "record_exits", "measure_cost"}


def test_the_place_of_the_data_is_not_part_of_a_result(finished):
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
                named = [script_of(rule), *chosen_by(rule)]
                covered = reachable(scripts, *named)
                used = re.search(r"Library modules used: (.*)", log.read_text())[1].split()
                assert set(used) <= covered, (log.name, set(used) - covered)


def logs_of(project, rule: str) -> list[Path]:
    found = re.search(r'log:\n +"results/\{experiment\}/logs/(.*)\.log"', rule)
    # `small` is trained, and is no published experiment.
    if not found or "replication" in found[1] or "network_import" in rule:
        return []
    wanted = re.sub(r"\{\w+\}", "*", found[1]) + ".log"
    return sorted(project.path("logs").glob(wanted))


def script_of(rule: str) -> str:
    return re.search(r'scripts/(\w+)\.py"', rule)[1]


def chosen_by(rule: str) -> list[str]:
    """The modules that the rule names besides its script, for the experiment `small`."""
    of_methods, call = re.search(r"code=code(_of_methods)?\((.*?)\),\n", rule, re.DOTALL).groups()
    if of_methods:
        methods = ["percentile", *SMALL["frontier"]["methods"]]
        modules = [f"calibration.{method}" for method in methods]
        return [f"early_exit.{module}" for module in ["uncertainty.entropy", *modules]]
    if "MEASURES" in call:
        return [
            f"early_exit.uncertainty.{name}" for name in ("entropy", "max_probability", "margin")
        ]
    if "FIGURES" in call:
        names = ["sweep", "operating_points", "exit_shares", "exit_accuracy", "per_class"]
        return [f"early_exit.figures.{name}" for name in names]
    fields = {
        "network": {"name": "branchynet"},
        "dataset": {"name": "digits"},
        "measure": "entropy",
        "method": "percentile",
    }
    modules = re.findall(r'"([^"]+)"', call)[1:]
    return [f"early_exit.{module}".format(**fields) for module in modules]
