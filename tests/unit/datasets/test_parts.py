"""Folders with parts: train, val and test."""

import pytest
from test_folder import FOLDER, draw, splits

from early_exit.datasets.load import prepare_dataset
from early_exit.errors import InputError


def in_parts(path, **counts):
    """Named parts, each with a number of images of two classes, each of a different grey."""
    for number, (part, count) in enumerate(counts.items()):
        for name in ("ant", "bee"):
            for n in range(count):
                draw(path / part / name / f"{n}.png", 60 * number + n)
    return path


@pytest.mark.parametrize("name", ["val", "valid", "validation", "calibration"])
def test_val_is_the_calibration_split(tmp_path, name):
    folder = in_parts(tmp_path / "w", train=10, test=3, **{name: 4})
    found = splits(folder, FOLDER)
    assert [len(data) for data in found.values()] == [20, 8, 6]
    greys = {"train": 0, "calibration": 2, "test": 1}
    for split, data in found.items():
        assert (data.inputs[:, 0, 0, 0] // 60 == greys[split]).all()
        assert data.labels.tolist() == sorted(data.labels.tolist())
    assert found["calibration"].index.tolist() == list(range(20, 28))
    manifest = prepare_dataset(folder, FOLDER)
    assert manifest["class_names"] == ["ant", "bee"]
    parts = ("train", name, "test")
    assert list(manifest["files"]) == [f"{part}/{c}" for part in parts for c in ("ant", "bee")]
    for key in ("calibration", "test"):
        with pytest.raises(InputError, match=rf"dataset\.{key}: .*has {key} samples of its own"):
            prepare_dataset(folder, FOLDER | {key: 3})


def test_without_a_test_part_half_of_val_is_the_test_split(tmp_path):
    """No network was trained on it."""
    folder = in_parts(tmp_path / "w", train=10, val=5)
    found = splits(folder, FOLDER)
    assert [len(data) for data in found.values()] == [20, 5, 5]
    for split, data in found.items():
        assert (data.inputs[:, 0, 0, 0] // 60 == (split != "train")).all()
    index = {split: set(data.index.tolist()) for split, data in found.items()}
    assert index["calibration"] | index["test"] == set(range(20, 30))
    assert not index["calibration"] & index["test"]
    assert [len(data) for data in splits(folder, FOLDER | {"test": 3}).values()] == [20, 7, 3]
    assert prepare_dataset(folder, FOLDER | {"test": 3})["classes"] == 2
    with pytest.raises(InputError, match=r"dataset\.test: 10 of 10 calibration samples"):
        splits(folder, FOLDER | {"test": 10})
    with pytest.raises(InputError, match=r"dataset\.calibration: .* leave it out"):
        prepare_dataset(folder, FOLDER | {"calibration": 3})


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Val"),
        ("training", "testing"),
        ("val", "test"),
        ("train", "dev"),
        ("train", "val", "validation"),
        ("train",),
    ],
)
def test_incomplete_parts_are_an_error(tmp_path, names):
    folder = in_parts(tmp_path / "w", **dict.fromkeys(names, 2))
    with pytest.raises(
        InputError, match=r"w: .* looks like a part, .*calibration in val or valid"
    ) as error:
        prepare_dataset(folder, FOLDER)
    assert str(error.value).isprintable()


def test_a_class_may_be_called_train(tmp_path):
    """Beside other classes it is no part."""
    for name in ("car", "ship", "train"):
        for n in range(4):
            draw(tmp_path / "w" / name / f"{n}.png", n)
    assert prepare_dataset(tmp_path / "w", FOLDER)["class_names"] == ["car", "ship", "train"]


def test_a_test_part_without_labels_is_an_error(tmp_path):
    folder = in_parts(tmp_path / "w", train=3, val=3)
    draw(folder / "test/1.png", 1)
    draw(folder / "test/2.png", 1)
    with pytest.raises(InputError, match=r"test/1\.png: no folder, but .*a folder for each class"):
        prepare_dataset(folder, FOLDER)
