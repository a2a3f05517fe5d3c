"""Criteria with parameters, or with a memory of earlier exits, from fit to export."""

import json

import pytest

from conftest import SMALL

pytestmark = pytest.mark.thorough

NETWORK = {"name": "branchynet", "checkpoint": "results/small/network/network.safetensors"}


@pytest.mark.parametrize("measure", ["ensemble", "gate"])
def test_simulation_runner_and_export_agree(finished, measure):
    own = SMALL | {"measure": measure, "network": NETWORK, "temperature_scaling": True}
    own |= {"selection": {"criterion": "fastest", "accuracy_floor": 0.2, "confidence": None}}
    own |= {"reliability": False, "frontier": {"methods": ["uniform"], "budgets": 4}}
    finished.configure(run="own", experiments={"small": SMALL, "own": own})
    finished.run("--cores", "2", "all", "export", check=True)
    folder = finished.folder / "results/own"

    def read(name):
        return json.loads((folder / name).read_text())

    policy = read("selection/policy.json")["policy"]
    assert policy["measure"] == measure
    assert ("parameters" in policy) == (folder / "criteria/parameters.json").is_file()
    if "parameters" in policy:
        assert policy["parameters"] == read("criteria/parameters.json")["parameters"][measure]
    evaluation = read("evaluation/evaluation.json")
    assert evaluation["selected"]["exit_shares"][-1] < 1, "some samples exit early"
    for agreement in (evaluation["agreement"], read("export/comparison.json")["agreement"]):
        assert agreement["different"] == agreement["rounded"] == 0
        assert agreement["equal"] >= 190
    assert finished.planned("all", "export") == {}


def test_another_criterion_is_fitted_and_nothing_before_is_computed_again(finished):
    own = SMALL | {"measure": ["gate"], "network": NETWORK, "reliability": False}
    finished.configure(run="own", experiments={"small": SMALL, "own": own})
    finished.run("--cores", "2", "select", check=True)
    own["measure"] = ["gate", "ensemble"]
    finished.configure(run="own", experiments={"small": SMALL, "own": own})
    plan = finished.planned("select")
    assert "fit_criteria" in plan
    assert not {"record_exits", "prepare_data", "import_network"} & {*plan}
