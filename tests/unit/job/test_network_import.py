"""The script that imports a checkpoint: whether it was trained on other data."""

from types import SimpleNamespace

import pytest
from snakemake.iocontainers import Namedlist

import network_import
from early_exit.io.files import write_json
from early_exit.networks.build import build_network
from early_exit.networks.checkpoint import save_network

SETTINGS = {"calibration": None, "test": None, "split_seed": 42}


@pytest.mark.parametrize(("digest", "warned"), [("d", False), ("e", True)])
def test_a_checkpoint_that_was_trained_on_other_data_warns(tmp_path, capsys, digest, warned):
    manifest = tmp_path / "manifest.json"
    own = {"dataset": "digits", "settings": SETTINGS, "digest": digest}
    write_json(manifest, own | {"classes": 10, "shape": [3, 32, 32]})
    # Found in the folder of the workflow: the input says where, the setting does not.
    path = tmp_path / "trained.safetensors"
    provenance = {"network": "compact", "classes": 10, "shape": [3, 32, 32], "data": "d"}
    save_network(build_network("compact", 10, [3, 32, 32]), path, provenance)
    job = SimpleNamespace(
        input=Namedlist(fromdict={"manifest": str(manifest), "checkpoint": str(path)}),
        output=SimpleNamespace(network=str(tmp_path / "network.safetensors")),
        params=SimpleNamespace(
            network={"name": "compact", "checkpoint": path.name},
            dataset={"name": "digits", **SETTINGS},
            measure=["entropy"],
            data_dir=str(tmp_path),
        ),
    )
    network_import.main(job)
    assert ("was trained on other data" in capsys.readouterr().err) == warned
    assert (tmp_path / "network.safetensors").exists()
