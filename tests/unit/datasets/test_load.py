import pickle
import shutil

import numpy as np
import pytest
import torch

from early_exit.datasets import cifar10, splits
from early_exit.datasets.load import SPLITS, load_split, prepare_dataset
from early_exit.errors import InputError

SETTINGS = {"calibration": None, "test": None, "split_seed": 42, "mirrors": None}
DIGITS = SETTINGS | {"name": "digits"}
CIFAR10 = SETTINGS | {"name": "cifar10"}


def test_the_calibration_split_is_the_published_one():
    train, calibration = splits.held_out(50_000, 5_000, 42)
    assert calibration[:5].tolist() == [17408, 40845, 3378, 22188, 44921]
    assert len(set(train.tolist()) | set(calibration.tolist())) == 50_000
    assert (len(train), len(calibration)) == (45_000, 5_000)


@pytest.mark.parametrize("calibration", [0, 10, 11])
def test_an_empty_split_is_an_error(calibration):
    with pytest.raises(InputError, match=r"dataset\.calibration"):
        splits.held_out(10, calibration, 0)


def test_digits_splits_share_no_image():
    found = {split: load_split("nowhere", split, DIGITS) for split in SPLITS}
    assert {split: len(data) for split, data in found.items()} == {
        "train": 897,
        "calibration": 450,
        "test": 450,
    }
    index = np.concatenate([data.index.numpy() for data in found.values()])
    assert len(np.unique(index)) == 1797


def test_digits_are_images():
    data = load_split("nowhere", "test", DIGITS)
    assert data.inputs.shape == (450, 3, 32, 32)
    assert data.inputs.dtype == torch.uint8
    assert data.inputs.max() == 255
    # Grey, and the centre of an upscaled pixel keeps its brightness.
    assert (data.inputs[:, 0] == data.inputs[:, 2]).all()
    from sklearn.datasets import load_digits

    source = load_digits().images[data.index[0]] * (255 / 16)
    coarse = data.inputs[0, 0].float().reshape(8, 4, 8, 4).mean(dim=(1, 3))
    assert np.corrcoef(coarse.ravel(), source.ravel())[0, 1] > 0.95


def test_sizes_are_settings():
    smaller = DIGITS | {"calibration": 20, "test": 30}
    assert len(load_split("nowhere", "calibration", smaller)) == 20
    assert len(load_split("nowhere", "train", smaller)) == 1797 - 50


def test_the_manifest_identifies_the_data_and_not_the_mirror(tmp_path):
    manifest = prepare_dataset(tmp_path, DIGITS)
    assert manifest["classes"] == 10
    assert manifest["shape"] == [3, 32, 32]
    same = prepare_dataset(tmp_path / "other", DIGITS | {"mirrors": ["https://example.org"]})
    assert same == manifest
    other = prepare_dataset(tmp_path, DIGITS | {"split_seed": 1})
    assert other["digest"] != manifest["digest"]
    assert list(tmp_path.iterdir()) == []


def test_a_missing_archive_is_an_error(tmp_path):
    offline = CIFAR10 | {"mirrors": ["http://127.0.0.1:1/cifar-10-python.tar.gz"]}
    with pytest.raises(
        InputError, match=r"cifar-10-batches-py: there is no such folder, and .*tar\.gz: missing"
    ):
        prepare_dataset(tmp_path, offline)
    with pytest.raises(InputError, match="cifar-10-batches-py: missing or damaged"):
        load_split(tmp_path, "test", offline)


def test_an_unknown_pickle_is_not_opened(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    folder = tmp_path / cifar10.SOURCE.folder
    folder.mkdir()
    for name in cifar10.SOURCE.files:
        (folder / name).write_bytes(pickle.dumps(Hostile()))
    for split in SPLITS:
        with pytest.raises(InputError, match="damaged"):
            load_split(tmp_path, split, CIFAR10)
    with pytest.raises(InputError, match="data_batch_1: damaged"):
        prepare_dataset(tmp_path, CIFAR10)
    assert not (tmp_path / "owned").exists()


def test_the_real_cifar10(cifar10_dir):
    manifest = prepare_dataset(cifar10_dir, CIFAR10)
    assert len(manifest["files"]) == 7
    test = load_split(cifar10_dir, "test", CIFAR10)
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    assert test.inputs.shape == (10_000, 3, 32, 32)
    assert test.index.tolist() == list(range(10_000))
    calibration = load_split(cifar10_dir, "calibration", CIFAR10)
    train = load_split(cifar10_dir, "train", CIFAR10)
    assert calibration.index[:3].tolist() == [17408, 40845, 3378]
    assert not set(calibration.index.tolist()) & set(train.index.tolist())


def test_a_truncated_batch_is_an_error(cifar10_dir, tmp_path):
    folder = tmp_path / cifar10.SOURCE.folder
    folder.mkdir()
    for name in cifar10.SOURCE.files:
        (folder / name).symlink_to(cifar10_dir / cifar10.SOURCE.folder / name)
    broken = folder / "test_batch"
    broken.unlink()
    shutil.copy(cifar10_dir / cifar10.SOURCE.folder / "test_batch", broken)
    broken.chmod(0o644)
    with broken.open("r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(InputError, match=r"test_batch: damaged.*1000000 bytes.*delete"):
        prepare_dataset(tmp_path, CIFAR10)
    with pytest.raises(InputError, match="missing or damaged"):
        load_split(tmp_path, "test", CIFAR10)
