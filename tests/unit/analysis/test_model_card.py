import json
from types import SimpleNamespace

import pandas as pd
import pytest
from snakemake.iocontainers import InputFiles, Params

import network_ship
from early_exit.analysis.model_card import make_card, markdown
from early_exit.errors import InputError
from early_exit.io.files import write_json
from early_exit.networks.build import build_network
from early_exit.networks.checkpoint import save_network
from helpers import make_records

PROVENANCE = {"network": "small", "data": "d" * 64, "training": {"epochs": 2}, "seed": 3}
MANIFEST = {"dataset": "made", "digest": "d" * 64, "settings": {"split_seed": 42}, "files": {}}


@pytest.fixture
def card():
    splits = make_records(60, seed=1), make_records(40, seed=2)
    log = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "seconds": [60.0, 30.0]})
    file = {"sha256": "f" * 64, "bytes": 1_234_567}
    return make_card(
        "small-made",
        "mine@3",
        PROVENANCE,
        MANIFEST,
        splits,
        [10**6, 2 * 10**6, 3 * 10**6],
        log,
        file,
    )


def test_the_card_states_what_was_measured(card):
    test = make_records(40, seed=2)
    assert card["samples"] == {"calibration": 60, "test": 40}
    assert [row["exit"] for row in card["exits"]] == [1, 2, 3]
    for k, row in enumerate(card["exits"]):
        right = (test.prediction[:, k] == test.label).sum()
        assert row["accuracy_test"] == pytest.approx(right / 40)
    assert card["minutes"] == 1.5
    assert card["command"] == "snakemake --cores 2 ship --config run=mine@3"
    assert json.loads(json.dumps(card)) == card


def test_the_markdown_states_the_same(card):
    text = markdown(card)
    for row in card["exits"]:
        assert (
            f"| {row['exit']} | {row['exit']}.00 | {row['accuracy_calibration']:.2%} |"
            f" {row['accuracy_test']:.2%} |"
        ) in text
    for expected in (card["command"], "1,234,567 bytes", "f" * 64, "d" * 64, "epochs: 2"):
        assert expected in text
    assert "the seed\n3" in text
    # It was trained without another network.
    assert "distilled from" not in text
    assert f"- distilled from the file of SHA-256\n  `{'e' * 64}`" in markdown(
        card | {"teacher": "e" * 64}
    )


def test_macs_are_those_of_the_stages_and_one_head():
    macs = network_ship.macs_of(build_network("branchynet", 10, [3, 32, 32]), [3, 32, 32])
    # By hand: conv 3-32 and its head, 16 channels of 15x15 pixels, and a linear layer.
    assert macs[0] == 27 * 32 * 1024 + 288 * 16 * 225 + 3600 * 10
    assert macs[-1] == 38_946_048


def test_a_network_too_large_to_ship_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "network.safetensors"
    provenance = {"network": "branchynet", "classes": 10, "shape": [3, 32, 32], "data": "d"}
    save_network(build_network("branchynet", 10, [3, 32, 32]), path, provenance)
    monkeypatch.setattr(network_ship, "MOST_BYTES", 1000)
    job = SimpleNamespace(
        input=InputFiles(fromdict={"network": str(path)}),
        params=Params(fromdict={"stem": str(tmp_path / "checkpoints/x"), "trusted": []}),
        wildcards=SimpleNamespace(experiment="mine"),
    )
    with pytest.raises(InputError, match="has at most 1,000; make the network smaller"):
        network_ship.main(job)
    assert not (tmp_path / "checkpoints").exists()


def test_a_checkpoint_of_another_experiment_is_not_replaced(tmp_path, card):
    network_ship.check_own(tmp_path / "small-made.json", "other")
    write_json(tmp_path / "small-made.json", card)
    network_ship.check_own(tmp_path / "small-made.json", "mine")
    with pytest.raises(
        InputError, match=r"small-made\.json: was shipped by mine@3, and other would"
    ):
        network_ship.check_own(tmp_path / "small-made.json", "other")
