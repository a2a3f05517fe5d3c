"""A real run, from start to end, on data that needs no download."""

import base64
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import SMALL
from early_exit.policy.policy import Policy

RULES = {
    "all": {"all"},
    "data": {"data", "prepare_data", "describe_records"},
    "network": {"network", "import_network", "train_network", "ship", "ship_network"},
    "exits": {"exits", "record_exits", "record_shard", "join_shards", "import_records"},
    "cost": {"cost", "measure_cost", "import_costs"},
    "sweep": {"sweep", "sweep_thresholds", "sweep_shard"},
    "calibration": {"calibrate", "calibrate_thresholds"},
    "selection": {"select", "select_policy", "count_uncertainty"},
    "temperature": {"temperature", "fit_temperatures"},
    "criteria": {"criteria", "fit_criteria"},
    "frontier": {
        *("frontier", "find_frontier", "find_references", "join_frontier"),
        "measure_frontier",
    },
    "reliability": {"reliability", "measure_reliability"},
    "baselines": {"baselines", "train_baseline", "measure_baselines"},
    "study": {"study", "study_methods", "summarise_study"},
    "evaluation": {"evaluate", "evaluate_policy", "simulate_policy", "simulate_policies"},
    "summary": {"summarise", "write_summary"},
    "figures": {"figures", "draw_figure", "draw_samples", "write_pages", "show_table"},
    "explorer": {"explore", "make_explorer", "make_explorer_of_records"},
    "graphs": {"quantize", "write_graphs", "quantize_graphs"},
    "speed": {"speed", "measure_speed"},
    "latency": {"latency", "measure_latency"},
    "runtimes": {"runtimes", "measure_runtimes"},
    "drift": {"drift", "simulate_drift"},
    "export": {"export", "export_policy", "check_export"},
    "replicates": {"replicates", "gather_replicates"},
    "reproduction": {"reproduce", "reproduce_published"},
}


def test_the_summary_has_its_documented_keys(finished_once):
    summary = json.loads(finished_once.path("summary.json").read_text())
    assert summary["experiment"] == "small"
    assert (summary["dataset"], summary["network"]) == ("digits", "branchynet")
    assert (summary["classes"], summary["exits"]) == (10, 6)
    assert summary["samples"] == {"calibration": 200, "test": 200}
    assert len(summary["per_exit_accuracy"]) == 6
    full, selected = summary["full_network"], summary["selected"]
    assert full["accuracy"] == summary["per_exit_accuracy"][-1]
    assert full["macs"] == 38_946_048
    assert full["ms_per_sample"] > 0
    assert len(selected["thresholds"]) == 5
    assert sum(selected["exit_shares"]) == pytest.approx(1)
    low, high = selected["accuracy_interval"]
    assert low < selected["accuracy"] < high
    assert selected["speedup"] == pytest.approx(full["ms_per_sample"] / selected["ms_per_sample"])
    assert {"method", "target", "exit_rule", "measure", "macs"} <= selected.keys()


def test_the_run_agrees_with_the_simulation_sample_by_sample(finished_once):
    evaluation = json.loads(finished_once.path("evaluation/evaluation.json").read_text())
    agreement = evaluation["agreement"]
    assert agreement["different"] == 0
    assert agreement["equal"] + agreement["ties"] == 200
    policy = json.loads(finished_once.path("selection/policy.json").read_text())["policy"]
    records = pd.read_parquet(finished_once.path("exits/test.parquet"))
    samples = pd.read_parquet(finished_once.path("evaluation/samples.parquet"))
    entropy = records[[f"entropy_{k}" for k in range(1, 7)]].to_numpy()
    taken = Policy.from_json(policy).exits_taken(entropy)
    assert ((samples["exit"] - 1).to_numpy() == taken).sum() >= agreement["equal"]
    assert samples["index"].equals(records["index"])


def test_the_records_are_those_of_the_contract(finished_once):
    records = pd.read_parquet(finished_once.path("exits/calibration.parquet"))
    assert len(records) == 200
    logits = np.stack([np.stack(records[f"logits_{k}"]) for k in range(1, 7)], axis=1)
    assert logits.shape == (200, 6, 10)
    for k in range(1, 7):
        np.testing.assert_array_equal(records[f"prediction_{k}"], logits[:, k - 1].argmax(axis=1))
        assert records[f"entropy_{k}"].between(0, np.log(10) + 1e-6).all()


def test_the_tables(finished_once):
    sweep = pd.read_csv(finished_once.path("sweep/test.csv"), comment="#")
    assert sweep.groupby("exit_rule").threshold.count().to_dict() == {"above": 100, "below": 100}
    assert sweep.threshold.max() == pytest.approx(np.log(10))
    cutoffs = pd.read_csv(finished_once.path("sweep/test_cutoffs.csv"), comment="#")
    assert cutoffs.cutoff.unique().tolist() == [0.6]
    assert cutoffs["exit"].tolist() == [*map(str, range(1, 7)), "overall"] * 2
    points = pd.read_csv(finished_once.path("calibration/percentile.csv"), comment="#")
    assert points.target.tolist() == [0.3, 0.6, 0.9]
    on_test = pd.read_csv(finished_once.path("evaluation/operating_points.csv"), comment="#")
    assert on_test.calibration_accuracy[:3].tolist() == points.accuracy.tolist()
    assert on_test.chosen.sum() == 1
    costs = pd.read_csv(finished_once.path("cost/cost.csv"), comment="#")
    assert set(costs.part) == {"stage", "head", "overhead"}
    assert {1, 8, 32, 128, 512} == set(costs.batch_size)
    assert costs[(costs.part == "stage") & (costs.batch_size == 8)].macs.sum() == 38_633_472
    machine = json.loads(finished_once.path("cost/cost.json").read_text())
    assert {"processor", "threads", "torch", "precision", "batch_size"} <= machine.keys()
    training = pd.read_csv(finished_once.path("network/training.csv"), comment="#")
    assert training.epoch.tolist() == [1]


def test_the_figures_are_there_as_svg_and_png(finished_once):
    names = ["sweep", "operating_points", "exit_shares", "exit_accuracy", "learning_curve"]
    names += ["targets", "uncertainty", "cost", "samples", "per_class"]
    for name in [*names, "frontier", "methods", "attainable", "reliability"]:
        assert finished_once.path(f"figures/{name}.svg").read_text().startswith("<?xml")
        with Image.open(finished_once.path(f"figures/{name}.png")) as image:
            assert len(np.unique(np.asarray(image.convert("L")))) > 20


def explorer(path) -> dict:
    """The data in an explorer."""
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_explorer_has_the_samples_the_policies_and_pictures(finished_once):
    data = explorer(finished_once.path("explorer.html"))
    chosen = json.loads(finished_once.path("selection/policy.json").read_text())
    assert data["policies"][0]["chosen"]
    assert data["policies"][0]["thresholds"] == chosen["policy"]["thresholds"]
    assert {split: own["samples"] for split, own in data["splits"].items()} == {
        "calibration": 200,
        "test": 200,
    }
    names = {own["name"].split(",")[0] for own in data["policies"]}
    assert {"percentile", "uniform"} & names
    assert data["why"] == chosen["why"]
    assert data["folder"] == "results/small"
    assert data["thumbnails"]["data"].startswith("data:image/jpeg")
    assert len(data["thumbnails"]["rows"]) == 96


def test_every_method_on_every_budget_and_the_certificates(finished_once):
    chosen = pd.read_csv(finished_once.path("frontier/policies.csv"), comment="#")
    on_test = pd.read_csv(finished_once.path("frontier/frontier.csv"), comment="#")
    assert (on_test.method == "uniform").sum() == 4
    assert on_test[on_test.method == "certified"].target.tolist() == [0.005, 0.01, 0.02, 0.05]
    assert {"as published", "published, rule corrected", "full network"} < set(on_test.method)
    assert on_test.calibration_accuracy.tolist() == chosen.accuracy.tolist()
    assert on_test.accuracy_low.lt(on_test.accuracy).all()


def test_the_reliability_of_each_exit(finished_once):
    quality = pd.read_csv(finished_once.path("reliability/exits.csv"), comment="#")
    assert len(quality) == 12
    assert quality.auroc_margin.between(0, 1).all()
    found = json.loads(finished_once.path("temperature/temperatures.json").read_text())
    scaled = quality[quality.scaled].temperature.tolist()
    assert scaled == pytest.approx(found["temperatures"])
    losses = found["negative_log_likelihood"]
    assert all(s <= p + 1e-9 for s, p in zip(losses["scaled"], losses["unscaled"], strict=True))


@pytest.mark.thorough
def test_temperatures_reach_the_policy_and_the_run(finished):
    finished.edit(
        "config.yaml", "    evaluation:", "    temperature_scaling: true\n    evaluation:"
    )
    finished.run("--cores", "2", "evaluate", check=True)
    policy = json.loads(finished.path("selection/policy.json").read_text())["policy"]
    found = json.loads(finished.path("temperature/temperatures.json").read_text())
    assert policy["temperatures"] == pytest.approx(found["temperatures"])
    evaluation = json.loads(finished.path("evaluation/evaluation.json").read_text())
    assert evaluation["agreement"]["different"] == 0


@pytest.mark.thorough
def test_a_run_prints_a_line_for_each_step_and_ends_with_the_headline(finished, monkeypatch):
    monkeypatch.delenv("EARLY_EXIT_BRIEF")
    finished.path("summary.json").unlink()
    finished.path("figures/sweep.svg").unlink()
    shown = finished.run("--cores", "2", check=True)
    lines = shown.stderr.splitlines()
    first = next(n for n, line in enumerate(lines) if re.fullmatch(r"\d+ jobs in \d+ steps", line))
    steps = [line.split() for line in lines[first + 1 : -1]]
    assert {words[1]: words[0] for words in steps}["write_summary"] == f"1/{len(steps)}"
    assert all(words[2] == "small" and words[-1] == "s" for words in steps), shown.stderr
    assert next(words for words in steps if words[1] == "draw_figure")[3].isdigit()
    assert lines[-1].startswith("Done in ")
    headline, *places = [line for line in shown.stdout.splitlines() if "doubtful" not in line]
    assert headline.startswith("small: ")
    assert "times as fast" in headline
    assert [place.split()[-1] for place in places] == [
        f"results/small/{name}" for name in ("summary.json", "figures/", "explorer.html")
    ]
    # The options of Snakemake keep their meaning.
    verbose = finished.run("--cores", "2", "--verbose", "--forcerun", "write_pages", check=True)
    assert "Select jobs to execute..." in verbose.stderr
    quiet = finished.run("--cores", "2", "--quiet", "all", "--forcerun", "write_pages", check=True)
    assert "write_pages" not in quiet.stderr


@pytest.mark.thorough
def test_a_floor_that_no_policy_reaches_ends_the_run_with_a_figure_to_choose_another(finished):
    shutil.rmtree(finished.path("frontier"))
    for figure in finished.path("figures").glob("attainable.*"):
        figure.unlink()
    own = SMALL | {"selection": {"criterion": "fastest", "accuracy_floor": 0.999}}
    finished.configure(run="small", experiments={"small": own})
    stopped = finished.run("--cores", "2")
    assert stopped.returncode == 1
    (line,) = [line for line in stopped.stderr.splitlines() if line.startswith("stopped: ")]
    assert "no policy is at least 0.999 accurate" in line
    figure = "results/small/figures/attainable.svg"
    assert f"; {figure} shows what accuracy is to be had at what cost (traceback: " in line
    assert (finished.folder / figure).exists()
    # Without a frontier there is no figure to name.
    own["frontier"] = {"methods": []}
    finished.configure(run="small", experiments={"small": own})
    (finished.folder / figure).unlink()
    assert "shows what" not in finished.run("--cores", "2").stderr


@pytest.mark.thorough
def test_thresholds_of_ones_own_are_taken_as_they_are(finished):
    """They are evaluated like any other policy, and figures and explorer take them."""
    given = [0.3, "never", 0.5, "always", 0.2]
    own = SMALL | {"selection": {"criterion": "thresholds", "thresholds": given}}
    finished.configure(run="small", experiments={"small": own})
    done = finished.run("--cores", "2", check=True)
    assert "small: " in done.stdout + done.stderr
    assert "Open in a browser: results/small/explorer.html" in done.stdout + done.stderr
    chosen = json.loads(finished.path("selection/policy.json").read_text())
    assert chosen["policy"]["thresholds"] == given
    assert chosen["why"] == "thresholds of the user, taken as they are, on 200 calibration samples"
    points = pd.read_csv(finished.path("evaluation/operating_points.csv"), comment="#")
    assert points[points.chosen].method.tolist() == ["thresholds"]
    assert json.loads(finished.path("summary.json").read_text())["selected"]["thresholds"] == given
    assert explorer(finished.path("explorer.html"))["policies"][0]["thresholds"] == given
    assert finished.planned() == {}
    own["selection"] = {"criterion": "thresholds", "thresholds": [0.3]}
    finished.configure(run="small", experiments={"small": own})
    failed = finished.run("--cores", "2")
    assert "selection.thresholds: 1 for 6 exits; give 5" in failed.stderr
    assert finished.run("--cores", "2", "-n").returncode == 0
    own["selection"] = {"criterion": "thresholds"}
    finished.configure(run="small", experiments={"small": own})
    assert "selection.thresholds: not set, but must be a list" in finished.run("-n").stderr


def test_no_temporary_files_remain(finished_once):
    names = [p.name for p in (finished_once.folder / "results").rglob("*")]
    assert not [name for name in names if name.startswith(".") or name.endswith(".part")]


def test_every_job_has_a_log_and_a_benchmark(finished_once):
    logs = {p.stem for p in finished_once.path("logs").iterdir()}
    benchmarks = {p.stem for p in finished_once.path("benchmarks").iterdir()}
    assert logs == benchmarks
    assert len(logs) == 37


def test_jobs_that_only_read_records_do_not_import_torch(finished_once):
    for log in finished_once.path("logs").iterdir():
        modules = set(re.search(r"Library modules used: (.*)", log.read_text())[1].split())
        torch_floor = {m for m in modules if m.split(".")[1:2] in (["networks"], ["inference"])}
        # The explorer and the figure of samples read images, which are tensors.
        with_torch = ("network", "exits", "cost", "evaluation", "explorer", "samples")
        runs_network = log.stem.split("_")[0] in with_torch
        if log.stem == "evaluation_points" or not runs_network:
            assert not torch_floor, log.stem
            assert "torch" not in used_packages(log), log.stem
        else:
            assert "torch" in used_packages(log), log.stem


def used_packages(log):
    return re.search(r"Packages used: (.*)", log.read_text())[1].split()


def test_the_report_states_the_numbers(finished):
    finished.run("--report", "report.html", check=True)
    text = (finished.folder / "report.html").read_text()
    summary = json.loads(finished.path("summary.json").read_text())
    assert "percent" in text or "%" in text
    for accuracy in summary["per_exit_accuracy"]:
        assert f"{accuracy:.2%}" in text
    assert f"{summary['selected']['speedup']:.2f} times as fast" in text
    # What it opens on, and what stands in it: titles, captions, tables.
    opened = re.search(r'<script id="workflow-desc">\s*var workflow_desc = (.*);', text)[1]
    assert f"{summary['selected']['accuracy']:.2%} accurate on 200 test samples" in opened
    assert "What was promised" in opened
    results = json.loads(re.search(r'<script id="results">\s*var results = (.*);', text)[1])
    shown = {Path(path).name: result for path, result in results.items()}
    assert shown["frontier.svg"]["labels"] == {"figure": "1 Accuracy against cost"}
    assert shown["operating_points.html"]["labels"] == {"table": "1 Calibrated policies"}
    assert {"overview.html", "frontier.html", "reliability.html"} <= shown.keys()
    explored = base64.b64decode(shown["explorer.html"]["data_uri"].partition(",")[2])
    assert explored == finished.path("explorer.html").read_bytes()
    assert shown["explorer.html"]["labels"]["result"].startswith("Explorer: ")
    assert 'results[\\"results/small/explorer.html\\"].data_uri' in opened
    captions = {name: result["caption"] for name, result in shown.items()}
    assert [name for name, caption in captions.items() if not caption or "{" in caption] == []
    categories = json.loads(
        re.search(r'<script id="categories">\s*var categories = (.*);', text)[1]
    )
    parts = ["1 Result", "2 What it gets", "3 Why", "4 Compared", "5 Tables"]
    assert sorted(categories["small"]) == parts


def test_every_rule_is_documented(project):
    listed = project.run("--list-rules", check=True).stdout
    for step, names in RULES.items():
        for name in names:
            assert re.search(rf"^{name}\b", listed, re.MULTILINE), (step, name)
    for rules in (project.folder / "rules").glob("*.smk"):
        for header, body in re.findall(r"^rule (\w+):\n(.*)", rules.read_text(), re.MULTILINE):
            assert body.strip().startswith('"""'), header


@pytest.mark.parametrize(
    ("target", "last"),
    [
        ("data", "prepare_data"),
        ("network", "train_network"),
        ("exits", "record_exits"),
        ("cost", "measure_cost"),
        ("sweep", "sweep_thresholds"),
        ("calibrate", "calibrate_thresholds"),
        ("select", "select_policy"),
        ("evaluate", "evaluate_policy"),
        ("summarise", "write_summary"),
        ("figures", "draw_figure"),
        ("explore", "make_explorer"),
        ("quantize", "quantize_graphs"),
        ("speed", "measure_speed"),
        ("latency", "measure_latency"),
        ("runtimes", "measure_runtimes"),
        ("drift", "simulate_drift"),
        ("export", "check_export"),
    ],
)
def test_each_step_has_a_target(project, target, last):
    assert last in project.planned(target)


def test_the_reproduction_is_a_target_of_the_published_experiment(project):
    project.configure(run="p", experiments={"p": {"reproduction": True}, "q": {}})
    assert {"reproduce_published", "draw_figure"} <= project.planned("reproduce").keys()
    assert "reproduce_published" not in project.planned("--config", "run=q")


def test_no_rule_that_chooses_reads_test_data(project):
    """Follow the inputs of the policy back to the data: the test split is not on the way."""
    shown = project.run("-n", "--forceall", check=True)
    jobs = re.findall(
        r"rule (\w+):\n    (?:input: (.*)\n    )?output: (.*)\n", shown.stdout + shown.stderr
    )
    inputs = {
        made: (reads or "").split(", ") for _, reads, makes in jobs for made in makes.split(", ")
    }
    waiting, seen = ["results/small/selection/policy.json"], set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        waiting += [other for other in inputs.get(name, []) if other not in seen]
    assert "results/small/exits/calibration.parquet" in seen
    assert not [name for name in seen if "test" in name]
    assert "results/small/exits/test.parquet" in inputs


def test_of_several_measures_the_policy_is_chosen_by_calibration(finished):
    """Every method is run with each, certificates share delta, and the run equals the records."""
    several = SMALL | {"measure": ["margin", "entropy"]}
    several["calibration"] = SMALL["calibration"] | {"methods": ["percentile", "certified"]}
    finished.configure(run="small", experiments={"small": several})
    assert "record_exits" not in finished.planned("evaluate")
    finished.run("--cores", "2", "evaluate", "frontier", check=True)
    tables = [
        pd.read_csv(finished.path(f"calibration/{name}.csv"), comment="#")
        for name in several["calibration"]["methods"]
    ]
    for table in tables:
        assert table.measure.unique().tolist() == ["margin", "entropy"]
    assert set(tables[1].certified_delta.dropna()) <= {0.05}
    within = pd.concat(tables).query("ms_per_sample <= 1000")
    chosen = json.loads(finished.path("selection/policy.json").read_text())
    assert chosen["calibration"]["accuracy"] == pytest.approx(within.accuracy.max())
    assert chosen["optimism"] > -0.01
    evaluation = json.loads(finished.path("evaluation/evaluation.json").read_text())
    assert evaluation["agreement"]["different"] == 0
    points = pd.read_csv(finished.path("evaluation/operating_points.csv"), comment="#")
    assert len(points) == sum(map(len, tables)) + 1
    frontier = pd.read_csv(finished.path("frontier/frontier.csv"), comment="#")
    assert frontier.measure.unique().tolist() == ["margin", "entropy"]
