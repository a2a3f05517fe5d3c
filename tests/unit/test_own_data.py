"""Pictures of the user's own: a folder, a file of arrays, and how they are scaled."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from early_exit import datasets
from early_exit.checksums import checksum
from early_exit.datasets import pictures
from early_exit.datasets.pictures import Pictures
from early_exit.engine import REFERENCE, Engine
from early_exit.errors import InputError

FOLDER = {"name": "folder", "size": 6, "calibration": None, "test": None, "split_seed": 1}
NPZ = {"name": "npz", "calibration": 4, "test": None, "split_seed": 1}


def draw(path, value, shape=(6, 6)):
    """A picture of one grey value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Three classes of ten pictures, each of another grey."""
    for c, name in enumerate(("bee", "ant", "cow")):
        for n in range(10):
            draw(tmp_path / "p" / name / f"{n}.png", 20 * c + n)
    (tmp_path / "p" / ".hidden").write_text("x")
    (tmp_path / "p" / "bee" / ".DS_Store").write_text("x")
    return tmp_path / "p"


def splits(path, settings):
    return {split: datasets.load(path, split, settings) for split in datasets.SPLITS}


def test_a_folder_is_described(folder):
    manifest = datasets.prepare(folder, FOLDER)
    assert manifest["class_names"] == ["ant", "bee", "cow"]
    assert (manifest["classes"], manifest["shape"]) == (3, [3, 6, 6])
    assert (manifest["mean"], manifest["std"]) == (None, None)
    assert list(manifest["files"]) == ["ant", "bee", "cow"]
    assert manifest["files"]["ant"].startswith("10 pictures, sha256:")
    # Where it is does not matter; a changed picture does.
    elsewhere = folder.rename(folder.with_name("moved"))
    assert datasets.prepare(elsewhere, FOLDER) == manifest
    draw(elsewhere / "ant/3.png", 99)
    changed = datasets.prepare(elsewhere, FOLDER)
    assert changed["digest"] != manifest["digest"]
    assert changed["files"]["bee"] == manifest["files"]["bee"]


def test_a_folders_splits_are_parts(folder):
    found = splits(folder, FOLDER)
    assert {split: len(data) for split, data in found.items()} == {
        "train": 24,
        "calibration": 3,
        "test": 3,
    }
    assert sorted(i for data in found.values() for i in data.index.tolist()) == list(range(30))
    for data in found.values():
        # ant was drawn in 20 to 29, bee in 0 to 9, cow in 40 to 49.
        tens = (data.images[:, 0, 0, 0] // 10).tolist()
        assert [{2: 0, 0: 1, 4: 2}[ten] for ten in tens] == data.labels.tolist()
    other = splits(folder, FOLDER | {"split_seed": 2, "test": 5})
    assert len(other["test"]) == 5
    assert set(other["calibration"].index.tolist()) != set(found["calibration"].index.tolist())


def test_train_and_test_of_its_own(folder, tmp_path):
    whole = tmp_path / "whole"
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            for n in range(10 if part == "train" else 4):
                draw(whole / part / name / f"{n}.jpg", 100 if part == "train" else 200)
    found = splits(whole, FOLDER)
    assert [len(data) for data in found.values()] == [18, 2, 8]
    assert (found["test"].images > 150).all()
    assert (found["train"].images < 150).all()
    assert list(datasets.prepare(whole, FOLDER)["files"])[-1] == "test/bee"
    with pytest.raises(InputError, match=r"dataset\.test: .*has the test pictures"):
        datasets.prepare(whole, FOLDER | {"test": 3})
    draw(whole / "test/cow/0.png", 1)
    with pytest.raises(InputError, match="the class cow is in one of train and test only"):
        datasets.prepare(whole, FOLDER)


def test_pictures_are_read_as_they_are_asked_for(folder, monkeypatch):
    whole = datasets.load(folder, "train", FOLDER)
    monkeypatch.setattr(pictures, "KEPT_BYTES", 24 * 3 * 6 * 6 - 1)
    read = []
    monkeypatch.setattr(
        pictures, "read_picture", lambda file, shape: read.append(file) or np.zeros(shape, np.uint8)
    )
    lazy = datasets.load(folder, "train", FOLDER)
    assert isinstance(lazy.images, Pictures)
    assert isinstance(whole.images, torch.Tensor)
    assert (len(lazy.images), lazy.images.shape) == (24, whole.images.shape)
    part = lazy.part(slice(4, 20)).images.to("cpu")
    assert not read
    assert part[torch.tensor([3, 1])].dtype == torch.uint8
    assert sorted(read) == sorted([lazy.images.files[7], lazy.images.files[5]])


def test_what_is_read_is_what_is_in_the_files(folder, monkeypatch):
    whole = datasets.load(folder, "train", FOLDER).images
    monkeypatch.setattr(pictures, "KEPT_BYTES", 0)
    lazy = datasets.load(folder, "train", FOLDER).images
    chosen = torch.tensor([5, 0, 5, 23])
    assert torch.equal(lazy[chosen], whole[chosen])
    assert torch.equal(lazy[3:7], whole[3:7])
    assert torch.equal(lazy.part(slice(2, 9))[1:], whole[3:9])
    assert lazy[24:].shape == (0, 3, 6, 6)
    batches = list(REFERENCE.batches(lazy, 10, "test"))
    assert torch.equal(torch.cat(batches), REFERENCE.pictures(whole))


def test_height_and_width(folder):
    settings = FOLDER | {"size": [4, 8]}
    assert datasets.prepare(folder, settings)["shape"] == [3, 4, 8]
    assert datasets.load(folder, "test", settings).images.shape == (3, 3, 4, 8)


def empty_class(folder):
    (folder / "dog").mkdir()


def one_class(folder):
    for name in ("bee", "cow"):
        (folder / name).rename(folder.with_name(name))


def stray(folder):
    (folder / "readme.txt").write_text("x")


def no_picture_by_name(folder):
    (folder / "bee/notes.txt").write_text("x")


def broken(folder):
    (folder / "bee/3.png").write_bytes((folder / "bee/3.png").read_bytes()[:40])
    (folder / "cow/5.png").write_bytes(b"")


def gone(folder):
    folder.rename(folder.with_name("q"))


def beside(folder):
    for part in ("train", "test"):
        draw(folder / part / "0.png", 1)


def line_break(folder):
    (folder / "bee").rename(folder / "be\ne")


def other_line_break(folder):
    (folder / "bee").rename(folder / "be\re")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (empty_class, "p/dog: a class without a picture"),
        (one_class, "p: has 1 class folders, but must have 2 at least"),
        (stray, r"p/readme\.txt: no folder; .* has a folder for each class"),
        (no_picture_by_name, r"p/bee/notes\.txt: no picture by its name"),
        (broken, r"p/bee/3\.png: no picture that can be read .* \(and 1 more, see the log\)"),
        (gone, r"p: there is no such folder; set dataset\.path"),
        (beside, "p: has ant beside train and test"),
        (line_break, "has a line break"),
        (other_line_break, r"the name 'be\\re' has a line break"),
    ],
)
def test_what_is_wrong_with_a_folder_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message) as error:
        datasets.prepare(folder, FOLDER)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (FOLDER | {"size": None}, r"dataset\.size: not set, but folder needs it"),
        (FOLDER | {"path": None}, r"dataset\.path: not set, but folder needs it"),
        (FOLDER | {"name": "digits"}, r"dataset\.size: digits takes no size; it takes: test, cal"),
        (FOLDER | {"name": "cifar10", "size": None, "test": 3}, "cifar10 takes no test"),
        (FOLDER | {"mean": [0.5], "std": [1.0]}, r"dataset\.mean: 1 numbers for .* of 3 channels"),
        (FOLDER | {"mean": [0.5] * 3}, r"dataset\.mean and dataset\.std go together"),
        (FOLDER | {"calibration": 27}, r"dataset\.calibration: 27 of 27"),
        (FOLDER | {"test": 30}, r"dataset\.test: 30 of 30 samples; give 1 to 29"),
    ],
)
def test_settings_that_do_not_fit_are_named(folder, settings, message):
    with pytest.raises(InputError, match=message):
        datasets.prepare(folder, settings)
        datasets.load(folder, "train", settings)


def arrays(**changes):
    rng = np.random.default_rng(0)
    content = {
        "images": rng.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8),
        "labels": np.arange(20) % 3,
        "class_names": np.array(["a", "b, c", "007"]),
    }
    return {key: value for key, value in (content | changes).items() if value is not None}


def saved(tmp_path, **changes):
    path = tmp_path / "own.npz"
    np.savez(path, **arrays(**changes))
    return path


def test_arrays_are_read(tmp_path):
    path = saved(tmp_path)
    manifest = datasets.prepare(path, NPZ)
    assert manifest["class_names"] == ["a", "b, c", "007"]
    assert manifest["shape"] == [3, 6, 5]
    found = splits(path, NPZ)
    assert [len(data) for data in found.values()] == [14, 4, 2]
    for data in found.values():
        own = arrays()["images"][data.index.numpy()].transpose(0, 3, 1, 2)
        assert (data.images.numpy() == own).all()
        assert data.labels.tolist() == (data.index % 3).tolist()


def test_channels_may_come_first_or_not_at_all(tmp_path):
    first = saved(tmp_path, images=np.zeros((20, 3, 6, 5), np.uint8))
    assert datasets.prepare(first, NPZ)["shape"] == [3, 6, 5]
    grey = saved(tmp_path, images=np.zeros((20, 6, 5), np.uint8), class_names=None)
    manifest = datasets.prepare(grey, NPZ)
    assert manifest["shape"] == [1, 6, 5]
    assert manifest["class_names"] == ["0", "1", "2"]


def test_a_large_test_split_takes_nothing_from_training(tmp_path):
    own = {"test_images": np.zeros((300, 6, 5, 3), np.uint8), "test_labels": np.arange(300) % 3}
    found = splits(saved(tmp_path, **own), NPZ | {"calibration": None})
    assert [len(data) for data in found.values()] == [18, 2, 300]


def test_arrays_with_a_test_split(tmp_path):
    own = {"test_images": np.full((5, 6, 5, 3), 7, np.uint8), "test_labels": np.arange(5) % 3}
    path = saved(tmp_path, **own)
    found = splits(path, NPZ)
    assert [len(data) for data in found.values()] == [16, 4, 5]
    assert (found["test"].images == 7).all()
    assert found["test"].index.tolist() == list(range(20, 25))
    with pytest.raises(InputError, match=r"dataset\.test: .* has test_images"):
        datasets.prepare(path, NPZ | {"test": 3})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "has no images; it has: labels, class_names"),
        ({"images": np.zeros((20, 6, 5, 3), np.float32)}, "images are float32"),
        ({"images": np.zeros((20, 6, 5, 4), np.uint8)}, "no dimension that must be"),
        ({"images": np.zeros((20, 3, 6, 3), np.uint8)}, "no dimension that must be"),
        ({"images": np.zeros((19, 6, 5, 3), np.uint8)}, "19 images, but 20 labels"),
        ({"labels": np.arange(20) - 1}, "labels are int64"),
        ({"labels": np.arange(20) / 2}, "labels are float64"),
        ({"labels": np.arange(20)}, "3 class_names, but labels up to 19"),
        ({"labels": np.arange(20) % 2}, "no picture in images is of the class 007"),
        ({"class_names": np.array(["a", "a", "b"])}, "each another"),
        ({"class_names": np.array(["a", "b\nc", "d"])}, r"the class name 'b\\nc' has a line break"),
        ({"class_names": np.array(["a", "b\rc", "d"])}, r"the class name 'b\\rc' has a line break"),
        ({"class_names": np.array([None, "a"], object)}, "no arrays that can be read safely"),
        ({"test_images": np.zeros((2, 6, 5, 3), np.uint8)}, "has no test_labels"),
        (
            {"test_images": np.zeros((2, 7, 5, 3), np.uint8), "test_labels": np.zeros(2, int)},
            "differ in shape",
        ),
        ({"labels": np.array(3)}, "has no labels"),
    ],
)
def test_what_is_wrong_with_arrays_is_named(tmp_path, changes, message):
    path = saved(tmp_path, **changes)
    with pytest.raises(InputError, match=rf"own\.npz: .*{message}"):
        datasets.prepare(path, NPZ)


def test_a_damaged_file_of_arrays_is_named(tmp_path):
    path = saved(tmp_path)
    whole = path.read_bytes()
    for content in (b"", b"x" * 50, whole[:-30], whole[:300], b"\x80\x04K\x01."):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"own\.npz: no arrays that can be read safely"):
            datasets.prepare(path, NPZ)
    path.unlink()
    with pytest.raises(InputError, match="there is no such file"):
        datasets.prepare(path, NPZ)


def test_pictures_are_scaled_by_mean_and_std():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).repeat(3, 1)[None, :, None]
    own = Engine(mean=(0.0, 0.2, 0.4), std=(1.0, 2.0, 0.5)).pictures(images)
    by_hand = [[0.0, 0.2, 1.0], [-0.1, 0.0, 0.4], [-0.8, -0.4, 1.2]]
    torch.testing.assert_close(own[0, :, 0], torch.tensor(by_hand))
    # Without them, to the last bit as ever.
    assert torch.equal(REFERENCE.pictures(images), images / 255)


def test_mean_and_std_are_in_the_manifest(folder):
    scaled = FOLDER | {"mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 0.5]}
    manifest = datasets.prepare(folder, scaled)
    assert (manifest["mean"], manifest["std"]) == (scaled["mean"], scaled["std"])
    assert manifest["digest"] != datasets.prepare(folder, FOLDER)["digest"]


def test_a_data_set_of_ours_is_what_it_was():
    settings = {"name": "digits", "calibration": None, "test": None, "split_seed": 42}
    digest = "84c644a702bd7f64feff402111aa7e93f0059b125f5157754ad607babb89af55"
    assert datasets.prepare("nowhere", settings)["digest"] == digest


def test_a_checksum_is_of_names_and_contents(folder, tmp_path, monkeypatch):
    notes = tmp_path / "notes/own.json"
    first = checksum(folder, notes)
    for file in folder.rglob("*.png"):
        os.utime(file, (1e9, 1e9))
    (folder / "bee/.DS_Store").write_text("another")
    assert checksum(folder, notes) == first
    # What is noted is not read again.
    with monkeypatch.context() as patch:
        patch.setattr("early_exit.checksums.sha256", lambda path: pytest.fail(f"read {path}"))
        assert checksum(folder, notes) == first
    notes.write_text("no JSON")
    assert checksum(folder, notes) == first
    (folder / "bee/3.png").rename(folder / "bee/33.png")
    renamed = checksum(folder, notes)
    draw(folder / "cow/0.png", 3)
    assert len({first, renamed, checksum(folder, notes)}) == 3


def test_what_a_checksum_cannot_read_is_named(folder, tmp_path, monkeypatch):
    (folder / "bee/link.png").symlink_to(folder / "gone.png")
    with pytest.raises(InputError, match=r"bee/link\.png: a link to nothing .*; mend it") as error:
        checksum(folder, tmp_path / "notes.json")
    assert "\n" not in str(error.value)
    (folder / "bee/link.png").unlink()

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("early_exit.checksums.sha256", refused)
    with pytest.raises(InputError, match=r"\.png: cannot be read \(Permission denied\)"):
        checksum(folder, tmp_path / "notes.json")


def test_a_checksum_needs_no_notes(folder, tmp_path):
    first = checksum(folder, tmp_path / "notes.json")
    in_the_way = tmp_path / "file"
    in_the_way.write_text("x")
    assert checksum(folder, in_the_way / "notes.json") == first
    assert checksum(folder / "bee/0.png", tmp_path / "one.json") != first
