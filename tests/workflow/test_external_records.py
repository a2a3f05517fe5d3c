"""Experiments that are external records, run where no torch is installed."""

import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from test_bad_input import fails

from conftest import SMALL, Project, copy_of_project
from early_exit.config.fingerprint import reachable
from elsewhere import write_costs, write_external, write_logits

SETTINGS = {
    "calibration": {"methods": ["coordinate", "certified"], "targets": [0.6, {"drop": 0.1}]},
    "selection": {"criterion": "fastest", "accuracy_floor": 0.6},
    "frontier": {"methods": ["uniform", "certified"], "budgets": 3},
    "study": {
        "splits": 2,
        "methods": ["uniform", "exact_grid", "certified"],
        "targets": [{"macs_share": 0.5}, {"drop": 0.05}],
        "sizes": [50],
    },
}


def made_of(project, found, **own) -> None:
    """The experiment `mine`, made of these files."""
    project.configure(run="mine", experiments={"mine": SETTINGS | {"records": found} | own})


@pytest.fixture(scope="module")
def ran_once(core, tmp_path_factory):
    """An uncertainty of its own, and costs in ms: every target that needs no network."""
    project = copy_of_project(tmp_path_factory.mktemp("records"))
    project.python = str(core)
    made_of(project, write_external(project.folder), measure="external")
    done = project.run("--cores", "2", "all", "temperature", "study", "scalability", check=True)
    (project.folder / "shown").write_text(done.stdout + done.stderr)
    return project


@pytest.fixture
def ran(ran_once, tmp_path):
    """A copy of it, times and all."""
    folder = tmp_path / "ran"
    shutil.copytree(ran_once.folder, folder, symlinks=True)
    return Project(folder, ran_once.python)


def read(project, name):
    return json.loads((project.folder / "results/mine" / name).read_text())


def table(project, name):
    return pd.read_csv(project.folder / "results/mine" / name, comment="#")


def test_the_core_has_no_torch(core):
    for package in ("torch", "torchvision", "safetensors", "sklearn"):
        tried = subprocess.run([core, "-c", f"import {package}"], capture_output=True, text=True)
        assert f"No module named '{package}'" in tried.stderr


def test_the_explorer_is_made_without_torch(ran_once):
    text = (ran_once.folder / "results/mine/explorer.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert [own["name"] for own in data["measures"]] == ["external"]
    assert data["costs"]["stage_macs"] is None
    assert data["thumbnails"] == {}
    assert data["policies"][0]["chosen"]


def test_the_summary_contains_nothing_unmeasured(ran_once):
    summary = read(ran_once, "summary.json")
    assert (summary["simulated"], summary["dataset"]) == (True, "records")
    assert [summary[key] for key in ("network", "classes", "agreement", "timing")] == [None] * 4
    selected, full = summary["selected"], summary["full_network"]
    unknown = {key for key, value in selected.items() if value is None}
    assert unknown >= {"macs", "ms_per_sample", "speedup"}
    assert (full["ms_per_sample"], full["macs"]) == (None, None)
    # The last exit's price, by hand, and what the shares make of the others'.
    assert full["ms_per_sample_predicted"] == pytest.approx(1.04)
    prices = np.array([0.11, 0.32, 0.63, 1.04])
    own = selected["ms_per_sample_predicted"]
    assert own == pytest.approx(prices @ selected["exit_shares"])
    assert selected["speedup_predicted"] == pytest.approx(1.04 / own)
    records = np.load(ran_once.folder / "external_test.npz")
    assert summary["per_exit_accuracy"] == records["correct"].mean(axis=0).tolist()
    shown = (ran_once.folder / "shown").read_text()
    assert f"accurate in simulation, {own:.3f} of 1.040 ms predicted" in shown
    assert "mine: its records contain no logits" in shown


def test_the_policy_gives_the_same_results_outside_the_workflow(ran_once):
    policy = read(ran_once, "selection/policy.json")["policy"]
    records = np.load(ran_once.folder / "external_test.npz")
    words = {"never": -np.inf, "always": np.inf}
    thresholds = [words.get(t, t) for t in policy["thresholds"]]
    leaves = records["uncertainty"] < [*thresholds, np.inf]
    taken = leaves.argmax(axis=1)
    right = records["correct"][np.arange(400), taken]
    assert read(ran_once, "evaluation/evaluation.json")["selected"]["accuracy"] == right.mean()
    path = ran_once.folder / "results/mine/evaluation/samples.parquet"
    samples = pd.read_parquet(path)
    assert (samples["exit"] - 1).tolist() == taken.tolist()
    assert (samples.prediction == samples.label).tolist() == right.tolist()


def test_missing_costs_are_empty(ran_once):
    sweep = table(ran_once, "sweep/test.csv")
    assert sweep.macs.isna().all()
    assert sweep.ms_per_sample.notna().all()
    early = np.load(ran_once.folder / "external_calibration.npz")["uncertainty"][:, :-1]
    span = (sweep.threshold.min(), sweep.threshold.max())
    assert span == pytest.approx((early.min(), early.max()))
    frontier = table(ran_once, "frontier/frontier.csv")
    assert {"ms_share", "calibration_ms_share"} <= set(frontier)
    assert not [name for name in frontier if "macs" in name]
    # Shares of the MACs, asked for by the defaults, are shares of the time.
    study = table(ran_once, "study/study.csv")
    assert set(study.target_kind) == {"ms_share", "drop"}
    assert set(study.measure) == {"external"}
    assert not study.scaled.any()
    assert "sweep" in set(table(ran_once, "scalability/scalability.csv").what)


def test_figures_say_that_they_are_simulated(ran_once):
    folder = ran_once.folder / "results/mine/figures"
    names = [
        "attainable",
        "cost",
        "exit_accuracy",
        "exit_shares",
        "frontier",
        "methods",
        "operating_points",
    ]
    names += ["per_class", "scalability", "study", "sweep", "targets", "uncertainty"]
    assert sorted(p.stem for p in folder.glob("*.svg")) == names
    for name in ("operating_points", "exit_shares"):
        assert "simulated from the records" in (folder / f"{name}.txt").read_text()
    for name in ("operating_points", "sweep"):
        text = (folder / f"{name}.svg").read_text()
        assert "from external costs" in text
        assert "predicted" not in text
    assert "external uncertainty" in (folder / "sweep.svg").read_text()


def test_the_report(ran):
    ran.run("--report", "report.html", check=True)
    assert "simulated from the records" in (ran.folder / "report.html").read_text()


@pytest.mark.thorough
def test_nothing_is_computed_again_and_an_edit_computes_what_depends_on_it(ran):
    assert ran.planned("all", "study", "scalability") == {}
    write_costs(ran.folder / "times.csv", "ms", "head_ms")
    plan = ran.planned()
    assert {"describe_records", "import_costs", "calibrate_thresholds"} <= set(plan)
    ran.run("--cores", "2", "summarise", check=True)
    # A head that nobody leaves at is not paid for now.
    assert read(ran, "summary.json")["full_network"]["ms_per_sample_predicted"] == pytest.approx(
        1.01
    )
    assert ran.planned("summarise") == {}


@pytest.mark.parametrize(
    "target",
    [
        "network",
        "quantize",
        "speed",
        "latency",
        "runtimes",
        "drift",
        "ship",
        "replicates",
        "baselines",
    ],
)
def test_targets_that_need_a_network_are_refused(ran, target):
    line = fails(ran, "-n", target)
    assert line.startswith(f"error: {target}: mine has external records and no network")


def test_a_replicate_has_nothing_to_train(ran):
    assert "mine is made of records, so no network is trained" in fails(
        ran, "-n", "--config", "run=mine@1"
    )


def test_no_rule_that_chooses_reads_test_data(ran):
    """But for the manifest, which knows all files by their checksums."""
    shown = ran.run("-n", "--forceall", "select", check=True)
    jobs = re.findall(r"rule (\w+):\n    (?:input: (.*)\n    )?", shown.stdout + shown.stderr)
    reading = {rule for rule, inputs in jobs if "test" in inputs}
    assert {"select_policy", "calibrate_thresholds", "import_records"} <= {r for r, _ in jobs}
    assert reading == {"describe_records"}


def test_the_fingerprints_cover_every_module_that_a_job_used(ran_once):
    scripts = ran_once.folder / "scripts"
    named = {
        "records_describe": [],
        "records_calibration": [],
        "records_costs": [],
        "records_evaluate": [],
    }
    for stem, chosen in named.items():
        log = ran_once.folder / f"results/mine/logs/{stem}.log"
        used = re.search(r"Library modules used: (.*)", log.read_text())[1].split()
        script = stem.replace("calibration", "import")
        covered = reachable(scripts, script, *[f"early_exit.{name}" for name in chosen])
        assert set(used) <= covered, (stem, set(used) - covered)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("write", "own", "message"),
    [
        (
            write_external,
            {"measure": "entropy"},
            "not the measure entropy; set measure to external",
        ),
        (write_logits, {"measure": "external"}, "not the measure external; set measure to entropy"),
        (write_logits, {"calibration": {"cost": "ms"}}, "only in macs, but ms is needed"),
        (
            write_logits,
            {"selection": {"criterion": "most_accurate", "latency_budget_ms": 1.0}},
            "selection.latency_budget_ms: there are no costs in ms",
        ),
    ],
)
def test_settings_that_do_not_fit_the_records_are_one_line(project, write, own, message):
    made_of(project, write(project.folder), **{**SETTINGS, "reliability": False} | own)
    assert message in fails(project, "select")


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"records": {"test": "gone.npz"}}, "mine.records.test: there is no file gone.npz"),
        ({"records": {"test": "calibration.npz"}}, "calibration and test are the same file"),
        ({"network": {"name": "residual"}}, "mine.network: does not apply to an experiment with"),
        ({"records": {"tset": "x"}}, "mine.records: unknown key 'tset'; did you mean 'test'?"),
        ({"temperature_scaling": True, "records": {}}, None),
    ],
)
def test_a_mistake_in_the_configuration_is_one_line(project, own, message):
    given = write_logits(project.folder) | own.pop("records", {})
    if message is None:
        # Records without logits cannot be scaled.
        given, own["measure"] = write_external(project.folder), "external"
        message = "mine.temperature_scaling: the records have no logits to scale"
    made_of(project, given, **own)
    assert message in fails(project, "select")


@pytest.mark.thorough
def test_records_exported_by_hand_give_the_same_tables(finished):
    """What `small` recorded, as `.npz` and as it is: the thresholds are those of `small`."""
    folder = finished.folder
    for split in ("calibration", "test"):
        records = pd.read_parquet(finished.path(f"exits/{split}.parquet"))
        logits = np.stack([np.stack(records[f"logits_{k}"]) for k in range(1, 7)], axis=1)
        np.savez(folder / f"{split}.npz", logits=logits, labels=records.label, index=records.index)
    costs = "results/small/cost/cost.csv"
    pattern = "results/small/exits/{}.parquet"
    files = {
        "npz": {"calibration": "calibration.npz", "test": "test.npz"},
        "own": {split: pattern.format(split) for split in ("calibration", "test")},
    }
    small = {key: SMALL[key] for key in ("calibration", "selection", "frontier", "measure")}
    experiments = {name: small | {"records": f | {"costs": costs}} for name, f in files.items()}
    finished.configure(run=[*files], experiments={"small": SMALL} | experiments)
    finished.run("--cores", "2", "calibrate", "frontier", check=True)
    for name in ("calibration/percentile.csv", "frontier/frontier.csv"):
        expected, *others = (
            pd.read_csv(folder / "results" / one / name, comment="#") for one in ("small", *files)
        )
        for other in others:
            pd.testing.assert_frame_equal(other, expected)
