"""CIFAR-100, on a small archive in its format."""

import hashlib
import io
import pickle
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR100

from early_exit.datasets import cifar100
from early_exit.datasets.load import SPLITS, load_split, prepare_dataset
from early_exit.errors import InputError
from early_exit.networks.build import build_network

SETTINGS = {"name": "cifar100", "calibration": 30, "test": None, "split_seed": 42, "mirrors": None}
ARCHIVE = "cifar-100-python.tar.gz"


def batch(samples: int, seed: int) -> dict:
    """Contents of a file: rows of red, then green, then blue; two labels each."""
    rng = np.random.default_rng(seed)
    fine = rng.permutation(np.arange(samples) % 100).tolist()
    return {
        "data": rng.integers(0, 256, (samples, 3072), dtype=np.uint8),
        "fine_labels": fine,
        "coarse_labels": [label // 5 for label in fine],
        "filenames": [f"{seed}_{number}.png" for number in range(samples)],
        "batch_label": "training batch 1 of 1",
    }


CONTENT = {
    "train": batch(120, 0),
    "test": batch(40, 1),
    "meta": {"fine_label_names": list(cifar100.CLASS_NAMES), "coarse_label_names": ["a"] * 20},
}


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Settings with the address of an archive whose checksums replace the real ones."""
    folder = tmp_path / "served"
    folder.mkdir()
    sums = {}
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        for name, content in CONTENT.items():
            data = pickle.dumps(content)
            sums[name] = hashlib.md5(data).hexdigest()
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    sha256 = hashlib.sha256((folder / ARCHIVE).read_bytes()).hexdigest()
    own = replace(cifar100.SOURCE, sha256=sha256, files=sums, size=None)
    monkeypatch.setattr(cifar100, "SOURCE", own)
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", CIFAR100.meta | {"md5": sums["meta"]})
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *arguments: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SETTINGS | {"mirrors": [f"http://127.0.0.1:{server.server_port}/{ARCHIVE}"]}
    server.shutdown()
    server.server_close()


def test_from_the_archive_to_the_splits(served, tmp_path):
    manifest = prepare_dataset(tmp_path / "data", served)
    assert (manifest["classes"], manifest["shape"]) == (100, [3, 32, 32])
    assert len(manifest["files"]) == 3
    found = {split: load_split(tmp_path / "data", split, served) for split in SPLITS}
    assert {split: len(data) for split, data in found.items()} == {
        "train": 90,
        "calibration": 30,
        "test": 40,
    }
    index = torch.cat([found["train"].index, found["calibration"].index])
    assert sorted(index.tolist()) == list(range(120))
    for split, data in found.items():
        source = CONTENT["test" if split == "test" else "train"]
        rows = source["data"][data.index.numpy()].reshape(-1, 3, 32, 32)
        assert torch.equal(data.inputs, torch.from_numpy(rows))
        assert data.labels.tolist() == [source["fine_labels"][i] for i in data.index]


def test_a_damaged_file_is_an_error_and_not_opened(served, tmp_path):
    prepare_dataset(tmp_path / "data", served)
    (tmp_path / "data/cifar-100-python/train").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InputError, match=r"train: damaged"):
        prepare_dataset(tmp_path / "data", served)
    with pytest.raises(InputError, match="cifar-100-python: missing or damaged"):
        load_split(tmp_path / "data", "train", served)


def test_another_archive_is_an_error(served, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar100, "SOURCE", replace(cifar100.SOURCE, sha256="0" * 64, size=None))
    with pytest.raises(InputError, match="wrong checksum"):
        prepare_dataset(tmp_path / "data", served)
    assert not (tmp_path / "data/cifar-100-python").exists()


def test_checksums_equal_those_of_torchvision():
    lists = CIFAR100.train_list + CIFAR100.test_list
    known = dict(map(tuple, lists)) | {"meta": CIFAR100.meta["md5"]}
    assert known == cifar100.SOURCE.files
    assert CIFAR100.base_folder == cifar100.SOURCE.folder


def test_a_network_of_a_hundred_classes(served, tmp_path):
    prepare_dataset(tmp_path / "data", served)
    data = load_split(tmp_path / "data", "calibration", served)
    network = build_network("branchynet", len(cifar100.CLASS_NAMES), list(cifar100.SHAPE))
    assert network(data.inputs[:4] / 255).shape == (4, 6, 100)
    assert len(set(cifar100.CLASS_NAMES)) == 100
