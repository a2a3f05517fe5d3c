"""The script that imports a checkpoint: whether it was trained on other data."""

from types import SimpleNamespace

import pytest

import network_import
from early_exit import networks
from early_exit.files import write_json

SETTINGS = {"calibration": None, "test": None, "split_seed": 42}


@pytest.mark.parametrize(("digest", "warned"), [("d", False), ("e", True)])
def test_a_checkpoint_that_was_trained_on_other_data_warns(tmp_path, capsys, digest, warned):
    manifest = tmp_path / "manifest.json"
    own = {"dataset": "digits", "settings": SETTINGS, "digest": digest}
    write_json(manifest, own | {"classes": 10, "shape": [3, 32, 32]})
    path = tmp_path / "trained.safetensors"
    identity = {"network": "compact", "classes": 10, "shape": [3, 32, 32], "data": "d"}
    networks.save(networks.build("compact", 10, [3, 32, 32]), path, identity)
    job = SimpleNamespace(
        input=SimpleNamespace(manifest=str(manifest)),
        output=SimpleNamespace(network=str(tmp_path / "network.safetensors")),
        params=SimpleNamespace(
            network={"name": "compact", "checkpoint": str(path)},
            dataset={"name": "digits", **SETTINGS},
            data_dir=str(tmp_path),
        ),
    )
    network_import.main(job)
    assert ("was trained on other data" in capsys.readouterr().err) == warned
    assert (tmp_path / "network.safetensors").exists()
