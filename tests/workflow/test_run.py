"""A real run, from start to end, on data that needs no download."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import SMALL
from early_exit.policy import Policy

RULES = {
    "all": {"all"},
    "data": {"data", "prepare_data", "describe_records"},
    "network": {"network", "import_network", "train_network", "ship", "ship_network"},
    "exits": {"exits", "record_exits", "record_shard", "join_shards", "import_records"},
    "cost": {"cost", "measure_cost", "import_costs"},
    "sweep": {"sweep", "sweep_thresholds", "sweep_shard"},
    "calibration": {"calibrate", "calibrate_thresholds"},
    "selection": {"select", "select_policy"},
    "temperature": {"temperature", "fit_temperatures"},
    "frontier": {"frontier", "find_frontier", "measure_frontier", "draw_frontier"},
    "quality": {"quality", "measure_quality", "draw_quality"},
    "baselines": {"baselines", "train_baseline", "measure_baselines", "draw_baselines"},
    "study": {"study", "study_methods", "summarise_study", "draw_study"},
    "evaluation": {"evaluate", "evaluate_policy", "simulate_policy", "simulate_policies"},
    "summary": {"summarise", "write_summary"},
    "figures": {"figures", "draw_figures", "draw_learning_curve"},
    "speed": {"speed", "measure_speed", "draw_speed"},
    "export": {"export", "export_policy", "check_export"},
    "replicates": {"replicates", "gather_replicates"},
    "replication": {"replicate", "replicate_published", "draw_replication"},
}


def test_the_summary_has_what_it_promises(finished_once):
    summary = json.loads(finished_once.path("summary.json").read_text())
    assert summary["experiment"] == "small"
    assert (summary["dataset"], summary["network"]) == ("digits", "branchynet")
    assert (summary["classes"], summary["exits"]) == (10, 6)
    assert summary["samples"] == {"calibration": 200, "test": 200}
    assert len(summary["per_exit_accuracy"]) == 6
    static, selected = summary["static"], summary["selected"]
    assert static["accuracy"] == summary["per_exit_accuracy"][-1]
    assert static["macs"] == 38_946_048
    assert static["ms_per_sample"] > 0
    assert len(selected["thresholds"]) == 5
    assert sum(selected["exit_shares"]) == pytest.approx(1)
    low, high = selected["accuracy_interval"]
    assert low < selected["accuracy"] < high
    assert selected["speedup"] == pytest.approx(static["ms_per_sample"] / selected["ms_per_sample"])
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
    sweep = pd.read_csv(finished_once.path("sweep/test.csv"))
    assert sweep.groupby("exit_rule").threshold.count().to_dict() == {"above": 100, "below": 100}
    assert sweep.threshold.max() == pytest.approx(np.log(10))
    cutoffs = pd.read_csv(finished_once.path("sweep/test_cutoffs.csv"))
    assert cutoffs.cutoff.unique().tolist() == [0.6]
    assert cutoffs["exit"].tolist() == [*map(str, range(1, 7)), "overall"] * 2
    points = pd.read_csv(finished_once.path("calibration/percentile.csv"))
    assert points.target.tolist() == [0.3, 0.6, 0.9]
    on_test = pd.read_csv(finished_once.path("evaluation/operating_points.csv"))
    assert on_test.calibration_accuracy[:3].tolist() == points.accuracy.tolist()
    assert on_test.chosen.sum() == 1
    costs = pd.read_csv(finished_once.path("cost/cost.csv"))
    assert set(costs.part) == {"stage", "head", "overhead"}
    assert {1, 8, 32, 128, 512} == set(costs.batch_size)
    assert costs[(costs.part == "stage") & (costs.batch_size == 8)].macs.sum() == 38_633_472
    machine = json.loads(finished_once.path("cost/cost.json").read_text())
    assert {"processor", "threads", "torch", "precision", "batch_size"} <= machine.keys()
    training = pd.read_csv(finished_once.path("network/training.csv"))
    assert training.epoch.tolist() == [1]


def test_the_figures_are_there_as_svg_and_png(finished_once):
    names = ["sweep", "operating_points", "exit_shares", "exit_accuracy", "learning_curve"]
    for name in [*names, "frontier", "reliability"]:
        assert finished_once.path(f"figures/{name}.svg").read_text().startswith("<?xml")
        with Image.open(finished_once.path(f"figures/{name}.png")) as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_every_method_on_every_budget_and_the_promises(finished_once):
    chosen = pd.read_csv(finished_once.path("frontier/policies.csv"))
    on_test = pd.read_csv(finished_once.path("frontier/frontier.csv"))
    assert (on_test.method == "uniform").sum() == 4
    assert on_test[on_test.method == "certified"].target.tolist() == [0.005, 0.01, 0.02, 0.05]
    assert {"as published", "published, rule corrected", "whole network"} < set(on_test.method)
    assert on_test.calibration_accuracy.tolist() == chosen.accuracy.tolist()
    assert on_test.accuracy_low.lt(on_test.accuracy).all()


def test_the_quality_of_each_exit(finished_once):
    quality = pd.read_csv(finished_once.path("quality/quality.csv"))
    assert len(quality) == 12
    assert quality.auroc_margin.between(0, 1).all()
    found = json.loads(finished_once.path("temperature/temperatures.json").read_text())
    scaled = quality[quality.scaled].temperature.tolist()
    assert scaled == pytest.approx(found["temperatures"])
    losses = found["negative_log_likelihood"]
    assert all(s <= p + 1e-9 for s, p in zip(losses["scaled"], losses["unscaled"], strict=True))


def test_the_study_compares_methods_without_a_pass(finished_once, extras_once):
    plan = finished_once.planned("study")
    assert plan == {"draw_study": 1, "study": 1, "study_methods": 2, "summarise_study": 1}
    table = pd.read_csv(extras_once.path("study/study.csv"))
    assert len(table) == 2 * (2 * 2 + 1)
    assert table[table.method == "uniform"].against_uniform.eq(0).all()
    assert table[table.method == "exact_grid"].optimality_gap.eq(0).all()


def test_extras_leave_what_was_finished_finished(extras_once):
    assert extras_once.planned() == {}


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


def test_the_speed_of_every_batch_size(extras_once):
    speed = pd.read_csv(extras_once.path("speed/speed.csv"))
    assert speed.batch_size.tolist() == [1, 16]
    assert (speed[["static", "all_heads", "dynamic", "ideal"]] > 0).all(axis=None)
    assert len(pd.read_csv(extras_once.path("speed/predicted.csv"))) == 4
    caption = extras_once.path("figures/speed.txt").read_text()
    assert "times as fast as every stage and head of branchynet run plainly" in caption


def test_policies_are_held_against_smaller_networks(extras_once):
    table = pd.read_csv(extras_once.path("baselines/baselines.csv"))
    assert table.kind.value_counts().to_dict() == {
        "policy": 3,
        "smaller network": 2,
        "whole network": 1,
    }
    assert "up to exit 3: " in extras_once.path("figures/baselines.txt").read_text()
    left = {path.name for path in extras_once.path("baselines").iterdir()}
    assert left == {"baselines.csv"} | {
        f"{name}_{cut}.{end}"
        for cut in (1, 3)
        for name, end in (("network", "safetensors"), ("training", "csv"))
    }


def test_an_exit_that_is_not_there_cannot_be_cut_after(finished):
    finished.configure(run="small", experiments={"small": SMALL | {"baselines": {"exits": [7]}}})
    refused = finished.run("--cores", "2", "baselines")
    assert "has no exit 7 to be cut after; its exits are 1 to 6" in refused.stderr


def test_a_trained_network_ships_with_its_card(extras_once):
    folder = extras_once.folder / "checkpoints"
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        f"branchynet-digits.{suffix}" for suffix in ("csv", "json", "md", "safetensors")
    ]
    shipped, trained = folder / names[3], extras_once.path("network/network.safetensors")
    assert shipped.read_bytes() == trained.read_bytes()
    log = extras_once.path("network/training.csv")
    assert (folder / names[0]).read_bytes() == log.read_bytes()
    card = json.loads((folder / names[1]).read_text())
    summary = json.loads(extras_once.path("summary.json").read_text())
    assert [row["accuracy_test"] for row in card["exits"]] == summary["per_exit_accuracy"]
    assert card["exits"][-1]["macs"] == summary["static"]["macs"]
    assert card["file"]["bytes"] == shipped.stat().st_size
    assert card["command"] in (folder / names[2]).read_text()
    assert f"{summary['per_exit_accuracy'][2]:.2%}" in (folder / names[2]).read_text()


def test_a_shipped_network_is_imported_and_its_replicate_trained(extras_once, finished):
    shutil.copytree(extras_once.folder / "checkpoints", finished.folder / "checkpoints")
    network = {"name": "branchynet", "checkpoint": "checkpoints/branchynet-digits.safetensors"}
    finished.configure(run="new", experiments={"new": SMALL | {"network": network}})
    plan = finished.planned("network", "--config", "run=[new,new@0]")
    assert (plan["import_network"], plan["train_network"]) == (1, 1)
    assert "ship_network" not in plan
    finished.run("--cores", "2", "exits", check=True)
    found = [finished.folder / f"results/{name}/exits/test.parquet" for name in ("small", "new")]
    one, other = (pd.read_parquet(path).drop(columns="index") for path in found)
    assert one.prediction_6.equals(other.prediction_6)
    assert one.entropy_6.equals(other.entropy_6)
    refused = finished.run("ship", "-n")
    assert "run=new@0 does" in refused.stdout + refused.stderr


def test_the_run_ends_with_the_headline(finished):
    finished.path("summary.json").unlink()
    finished.path("figures/sweep.svg").unlink()
    shown = finished.run("--cores", "2", check=True)
    assert "small: " in shown.stdout + shown.stderr
    assert "times as fast as the whole network" in shown.stdout + shown.stderr


def test_nothing_is_left_lying_about(finished_once):
    names = [p.name for p in (finished_once.folder / "results").rglob("*")]
    assert not [name for name in names if name.startswith(".") or name.endswith(".part")]


def test_every_job_has_a_log_and_a_benchmark(finished_once):
    logs = {p.stem for p in finished_once.path("logs").iterdir()}
    benchmarks = {p.stem for p in finished_once.path("benchmarks").iterdir()}
    assert logs == benchmarks
    assert len(logs) == 19


def test_jobs_that_only_read_records_do_not_import_torch(finished_once):
    for log in finished_once.path("logs").iterdir():
        modules = set(re.search(r"Library modules used: (.*)", log.read_text())[1].split())
        torch_floor = {m for m in modules if m.split(".")[1:2] in (["networks"], ["inference"])}
        runs_network = log.stem.split("_")[0] in ("network", "exits", "cost", "evaluation")
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


def test_every_rule_is_documented(project):
    listed = project.run("--list-rules", check=True).stdout
    for stage, names in RULES.items():
        for name in names:
            assert re.search(rf"^{name}\b", listed, re.MULTILINE), (stage, name)
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
        ("figures", "draw_figures"),
        ("speed", "measure_speed"),
        ("export", "check_export"),
    ],
)
def test_each_stage_has_a_target(project, target, last):
    assert last in project.planned(target)


def test_the_replication_is_a_target_of_the_published_experiment(project):
    project.configure(run="p", experiments={"p": {"replication": True}, "q": {}})
    assert {"replicate_published", "draw_replication"} <= project.planned("replicate").keys()
    assert "replicate_published" not in project.planned("--config", "run=q")


def test_several_experiments_and_replicates_are_run_side_by_side(project):
    plan = project.planned("--config", "run=[small,small@3]")
    assert plan["train_network"] == 2
    assert plan["record_exits"] == 4


def test_replicates_are_trained_each_on_its_own_and_gathered(project):
    project.configure(run="small", experiments={"small": SMALL | {"replicates": 2}})
    plan = project.planned("replicates")
    assert (plan["train_network"], plan["gather_replicates"]) == (2, 1)
    project.run("--cores", "2", "replicates", check=True)
    table = pd.read_csv(project.path("replicates.csv")).set_index("quantity")
    summaries = [
        json.loads((project.folder / f"results/small@{seed}/summary.json").read_text())
        for seed in (0, 1)
    ]
    own = [summary["per_exit_accuracy"][2] for summary in summaries]
    assert table.loc["accuracy_3", ["seed_0", "seed_1"]].tolist() == pytest.approx(own)
    assert table["mean"]["accuracy_3"] == pytest.approx(np.mean(own))
    networks = [
        (project.folder / f"results/small@{seed}/network/network.safetensors").read_bytes()
        for seed in (0, 1)
    ]
    assert networks[0] != networks[1]
    assert project.planned("replicates") == {}
    refused = project.run("-n", "replicates", "--config", "run=small@1")
    assert "small@1 is a replicate itself" in refused.stdout + refused.stderr


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
