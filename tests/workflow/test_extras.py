"""Study, speed, baselines, shipping and replicates: the targets beyond a plain run."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from conftest import SMALL


@pytest.mark.thorough
def test_the_study_compares_methods_without_a_pass(finished_once, extras_once):
    plan = finished_once.planned("study")
    steps = {"study_methods": 2, "summarise_study": 1}
    assert plan == {"draw_figure": 1, "show_table": 1, "study": 1} | steps
    table = pd.read_csv(extras_once.path("study/study.csv"), comment="#")
    assert len(table) == 2 * (2 * 2 + 1)
    assert table[table.method == "uniform"].against_uniform.eq(0).all()
    assert table[table.method == "exact_grid"].optimality_gap.eq(0).all()


@pytest.mark.thorough
def test_extras_do_not_rerun_finished_steps(extras_once):
    assert extras_once.planned() == {}


@pytest.mark.thorough
def test_the_speed_of_every_batch_size(extras_once):
    speed = pd.read_csv(extras_once.path("speed/speed.csv"), comment="#")
    assert speed.batch_size.tolist() == [1, 16]
    assert (speed[["full_network", "all_heads", "dynamic", "ideal"]] > 0).all(axis=None)
    assert len(pd.read_csv(extras_once.path("speed/predicted.csv"), comment="#")) == 4
    caption = extras_once.path("figures/speed.txt").read_text()
    assert "times as fast as all stages and heads of branchynet run plainly" in caption


@pytest.mark.thorough
def test_single_samples_are_timed(extras_once):
    table = pd.read_csv(extras_once.path("latency/latency.csv"), comment="#").set_index("kind")
    assert set(table.index) == {"chosen policy", "policy", "full network"}
    assert (table.samples == 12).all()
    assert (table.p50_ms > 0).all()
    assert ((table.p50_ms <= table.p95_ms) & (table.p95_ms <= table.p99_ms)).all()
    summary = json.loads(extras_once.path("summary.json").read_text())
    own = summary["full_network"]["accuracy"]
    assert table.accuracy["full network"] == pytest.approx(own)
    assert "Half of the samples take" in extras_once.path("figures/latency.txt").read_text()


@pytest.mark.thorough
def test_drift_is_simulated_on_corrupted_images(extras_once):
    table = pd.read_csv(extras_once.path("drift/drift.csv"), comment="#")
    kinds = {"none": [0]} | {kind: [1, 2, 3] for kind in ("noise", "blur", "contrast")}
    assert {k: sorted(rows.strength.unique()) for k, rows in table.groupby("kind")} == kinds
    assert (table.samples == 60).all()
    assert (table.draws == 3).all()
    # The images as they are, of the records; the network ran on the others.
    records = pd.read_parquet(extras_once.path("exits/test.parquet"))
    full = table[table.way == "full_network"].set_index(["kind", "strength"])
    assert full.cost_share.eq(1).all()
    whole = (records.prediction_6 == records.label).mean()
    assert full.accuracy["none", 0] == pytest.approx(whole, abs=0.15)
    # The tiny full network may say one class whatever it sees; its early exits do not.
    assert table[table.way == "old"].accuracy.nunique() > 3
    assert {"old", "shares_kept", "tracked", "full_network"} <= set(table.way)
    caption = extras_once.path("figures/drift.txt").read_text()
    assert "On 60 images, mean of 3 random halves;" in caption


@pytest.mark.thorough
def test_policies_are_compared_with_smaller_networks(extras_once):
    table = pd.read_csv(extras_once.path("baselines/baselines.csv"), comment="#")
    assert table.kind.value_counts().to_dict() == {
        "policy": 3,
        "smaller network": 2,
        "full network": 1,
    }
    assert "cut after exit 3: " in extras_once.path("figures/baselines.txt").read_text()
    left = {path.name for path in extras_once.path("baselines").iterdir()}
    assert left == {"baselines.csv"} | {
        f"{name}_{cut}.{end}"
        for cut in (1, 3)
        for name, end in (("network", "safetensors"), ("training", "csv"))
    }


def test_a_cut_after_a_missing_exit_is_refused(finished):
    finished.configure(run="small", experiments={"small": SMALL | {"baselines": {"exits": [7]}}})
    refused = finished.run("--cores", "2", "baselines")
    assert "has no exit 7 to be cut after; its exits are 1 to 6" in refused.stderr


@pytest.mark.thorough
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
    assert card["exits"][-1]["macs"] == summary["full_network"]["macs"]
    assert card["file"]["bytes"] == shipped.stat().st_size
    assert card["command"] in (folder / names[2]).read_text()
    assert f"{summary['per_exit_accuracy'][2]:.2%}" in (folder / names[2]).read_text()


@pytest.mark.thorough
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
    assert "use --config run=new@0" in refused.stdout + refused.stderr


def test_several_experiments_and_replicates_are_run_side_by_side(project):
    plan = project.planned("--config", "run=[small,small@3]")
    assert plan["train_network"] == 2
    assert plan["record_exits"] == 4


@pytest.mark.thorough
def test_replicates_are_trained_each_on_its_own_and_gathered(replicated_once, project):
    project.configure(run="small", experiments={"small": SMALL | {"replicates": 2}})
    plan = project.planned("replicates")
    assert (plan["train_network"], plan["gather_replicates"]) == (2, 1)
    table = pd.read_csv(replicated_once.path("replicates.csv"), comment="#").set_index("quantity")
    summaries = [
        json.loads((replicated_once.folder / f"results/small@{seed}/summary.json").read_text())
        for seed in (0, 1)
    ]
    own = [summary["per_exit_accuracy"][2] for summary in summaries]
    assert table.loc["accuracy_3", ["seed_0", "seed_1"]].tolist() == pytest.approx(own)
    assert table["mean"]["accuracy_3"] == pytest.approx(np.mean(own))
    networks = [
        (replicated_once.folder / f"results/small@{seed}/network/network.safetensors").read_bytes()
        for seed in (0, 1)
    ]
    assert networks[0] != networks[1]
    assert replicated_once.planned("replicates") == {}
    refused = project.run("-n", "replicates", "--config", "run=small@1")
    assert "small@1 is a replicate itself" in refused.stdout + refused.stderr
