"""Folders of images, and their scaling."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from early_exit.datasets import lazy_images
from early_exit.datasets.lazy_images import Images
from early_exit.datasets.load import SPLITS, load_split, prepare_dataset
from early_exit.errors import InputError
from early_exit.inference.engine import REFERENCE, Engine
from early_exit.io.checksums import checksum

FOLDER = {"name": "folder", "size": 6, "calibration": None, "test": None, "split_seed": 1}


def draw(path, value, shape=(6, 6)):
    """An image of one grey value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Three classes of ten images, each of a different grey."""
    for c, name in enumerate(("bee", "ant", "cow")):
        for n in range(10):
            draw(tmp_path / "p" / name / f"{n}.png", 20 * c + n)
    (tmp_path / "p" / ".hidden").write_text("x")
    (tmp_path / "p" / "bee" / ".DS_Store").write_text("x")
    return tmp_path / "p"


def splits(path, settings):
    return {split: load_split(path, split, settings) for split in SPLITS}


def test_the_manifest_of_a_folder(folder):
    manifest = prepare_dataset(folder, FOLDER)
    assert manifest["class_names"] == ["ant", "bee", "cow"]
    assert (manifest["classes"], manifest["shape"]) == (3, [3, 6, 6])
    assert (manifest["mean"], manifest["std"]) == (None, None)
    assert list(manifest["files"]) == ["ant", "bee", "cow"]
    assert manifest["files"]["ant"].startswith("10 images, sha256:")
    # The path does not matter; a changed image does.
    renamed = folder.rename(folder.with_name("moved"))
    assert prepare_dataset(renamed, FOLDER) == manifest
    draw(renamed / "ant/3.png", 99)
    changed = prepare_dataset(renamed, FOLDER)
    assert changed["digest"] != manifest["digest"]
    assert changed["files"]["bee"] == manifest["files"]["bee"]


def test_splits_of_a_folder(folder):
    found = splits(folder, FOLDER)
    assert {split: len(data) for split, data in found.items()} == {
        "train": 24,
        "calibration": 3,
        "test": 3,
    }
    assert sorted(i for data in found.values() for i in data.index.tolist()) == list(range(30))
    for data in found.values():
        # ant was drawn in 20 to 29, bee in 0 to 9, cow in 40 to 49.
        tens = (data.inputs[:, 0, 0, 0] // 10).tolist()
        assert [{2: 0, 0: 1, 4: 2}[ten] for ten in tens] == data.labels.tolist()
    other = splits(folder, FOLDER | {"split_seed": 2, "test": 5})
    assert len(other["test"]) == 5
    assert set(other["calibration"].index.tolist()) != set(found["calibration"].index.tolist())


def test_val_and_test_may_lack_a_class(tmp_path, caplog):
    for part, names in (("train", "abc"), ("val", "ac"), ("test", "b")):
        for name in names:
            for n in range(4):
                draw(tmp_path / part / name / f"{n}.png", 60 * "abc".index(name))
    manifest = prepare_dataset(tmp_path, FOLDER)
    assert manifest["class_names"] == ["a", "b", "c"]
    assert [*manifest["files"]][3:] == ["val/a", "val/c", "test/b"]
    assert caplog.messages == ["calibration has no image of b", "test has no image of a, c"]
    for data in splits(tmp_path, FOLDER).values():
        assert (data.inputs[:, 0, 0, 0] == 60 * data.labels).all()


def test_folders_for_train_and_test(folder, tmp_path):
    data = tmp_path / "data"
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            for n in range(10 if part == "train" else 4):
                draw(data / part / name / f"{n}.jpg", 100 if part == "train" else 200)
    found = splits(data, FOLDER)
    assert [len(data) for data in found.values()] == [18, 2, 8]
    assert (found["test"].inputs > 150).all()
    assert (found["train"].inputs < 150).all()
    assert list(prepare_dataset(data, FOLDER)["files"])[-1] == "test/bee"
    with pytest.raises(InputError, match=r"dataset\.test: .*has test samples of its own"):
        prepare_dataset(data, FOLDER | {"test": 3})
    draw(data / "test/cow/0.png", 1)
    with pytest.raises(InputError, match="the class cow is in test, but not in train; give train"):
        prepare_dataset(data, FOLDER)


def test_file_names_in_other_encodings_are_read(folder):
    """Allowed in names of files; in names of classes they would be in every table."""
    (folder / "bee/3.png").rename(folder / os.fsdecode(b"bee/\xff.png"))
    assert len(prepare_dataset(folder, FOLDER)["files"]) == 3
    assert sum(len(data) for data in splits(folder, FOLDER).values()) == 30
    (folder / "bee").rename(folder / os.fsdecode(b"\xff"))
    with pytest.raises(InputError, match=r"the class name '\\udcff' has") as error:
        prepare_dataset(folder, FOLDER)
    assert str(error.value).isprintable()


def test_images_of_16_bits_are_scaled(folder):
    ramp = np.linspace(0, 65535, 36).reshape(6, 6).astype(np.uint16)
    Image.fromarray(ramp).save(folder / "ant/0.png")
    found = splits(folder, FOLDER).values()
    (read,) = [data.inputs[data.index == 0][0] for data in found if 0 in data.index]
    assert abs(read[0].numpy() - ramp / 257).max() <= 1


def test_the_pixel_limit_is_a_setting(folder):
    draw(folder / "ant/0.png", 1, (20, 20))
    assert prepare_dataset(folder, FOLDER | {"max_pixels": 400})["classes"] == 3
    with pytest.raises(InputError, match=r"ant/0\.png: .*20 x 20 pixels, .*raise max_pixels"):
        prepare_dataset(folder, FOLDER | {"max_pixels": 399})
    with pytest.raises(InputError, match="20 x 20 pixels"):
        splits(folder, FOLDER | {"max_pixels": 399})


def test_a_circular_link_is_an_error(folder, tmp_path):
    for name in ("one", "two"):
        (folder / "bee" / name).symlink_to(folder)
    for ask in (prepare_dataset, lambda path, _: checksum(path, tmp_path / "notes.json")):
        with pytest.raises(InputError, match="bee/one: a link to a folder that contains it"):
            ask(folder, FOLDER)
    # Two links to each other.
    for name in ("one", "two"):
        (folder / "bee" / name).unlink()
    (folder / "bee/in").mkdir()
    (folder / "bee/in/out").symlink_to(folder / "bee/more")
    (folder / "bee/more").mkdir()
    (folder / "bee/more/back").symlink_to(folder / "bee/in")
    for ask in (prepare_dataset, lambda path, _: checksum(path, tmp_path / "notes.json")):
        with pytest.raises(InputError, match="a link to a folder that contains it"):
            ask(folder, FOLDER)
    shutil.rmtree(folder / "bee/in")
    shutil.rmtree(folder / "bee/more")
    # A link to another folder is followed.
    draw(tmp_path / "other/1.png", 3)
    (folder / "bee/one").symlink_to(tmp_path / "other")
    assert prepare_dataset(folder, FOLDER)["files"]["bee"].startswith("11 images")
    assert checksum(folder, tmp_path / "notes.json")


def test_a_pipe_in_a_folder_is_an_error(folder, tmp_path):
    os.mkfifo(folder / "cow/a.png")
    with pytest.raises(InputError, match=r"cow/a\.png: .*a pipe, not a regular file"):
        prepare_dataset(folder, FOLDER)
    with pytest.raises(InputError, match=r"cow/a\.png: not a regular file"):
        checksum(folder, tmp_path / "notes.json")


def test_images_are_read_on_access(folder, monkeypatch):
    data = load_split(folder, "train", FOLDER)
    monkeypatch.setattr(lazy_images, "KEPT_BYTES", 24 * 3 * 6 * 6 - 1)
    read = []
    monkeypatch.setattr(
        lazy_images,
        "load_image",
        lambda file, shape, _: read.append(file) or np.zeros(shape, np.uint8),
    )
    lazy = load_split(folder, "train", FOLDER)
    assert isinstance(lazy.inputs, Images)
    assert isinstance(data.inputs, torch.Tensor)
    assert (len(lazy.inputs), lazy.inputs.shape) == (24, data.inputs.shape)
    part = lazy.part(slice(4, 20)).inputs.to("cpu")
    assert not read
    assert part[torch.tensor([3, 1])].dtype == torch.uint8
    assert sorted(read) == sorted([lazy.inputs.files[7], lazy.inputs.files[5]])


def test_lazy_images_equal_the_files(folder, monkeypatch):
    data = load_split(folder, "train", FOLDER).inputs
    monkeypatch.setattr(lazy_images, "KEPT_BYTES", 0)
    lazy = load_split(folder, "train", FOLDER).inputs
    chosen = torch.tensor([5, 0, 5, 23])
    assert torch.equal(lazy[chosen], data[chosen])
    assert torch.equal(lazy[3:7], data[3:7])
    assert torch.equal(lazy.part(slice(2, 9))[1:], data[3:9])
    assert lazy[24:].shape == (0, 3, 6, 6)
    batches = list(REFERENCE.batches(lazy, 10, "test"))
    assert torch.equal(torch.cat(batches), REFERENCE.prepare(data))


def test_height_and_width(folder):
    settings = FOLDER | {"size": [4, 8]}
    assert prepare_dataset(folder, settings)["shape"] == [3, 4, 8]
    assert load_split(folder, "test", settings).inputs.shape == (3, 3, 4, 8)


def empty_class(folder):
    (folder / "dog").mkdir()


def one_class(folder):
    for name in ("bee", "cow"):
        (folder / name).rename(folder.with_name(name))


def stray(folder):
    (folder / "readme.txt").write_text("x")


def no_image_by_name(folder):
    (folder / "bee/notes.txt").write_text("x")


def broken(folder):
    (folder / "bee/3.png").write_bytes((folder / "bee/3.png").read_bytes()[:40])
    (folder / "cow/5.png").write_bytes(b"")


def missing(folder):
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
        (empty_class, "p/dog: a class without an image"),
        (one_class, "p: has 1 class folders, but must have at least 2"),
        (stray, r"p/readme\.txt: no folder, but .* has a folder for each class only"),
        (no_image_by_name, r"p/bee/notes\.txt: no suffix of an image"),
        (broken, r"p/bee/3\.png: no image that can be read .* \(and 1 more, see the log\)"),
        (missing, r"p: there is no such folder; set dataset\.path"),
        (beside, "p: has ant beside train and test"),
        (line_break, "has a line break"),
        (other_line_break, r"the name 'be\\re' has a line break"),
    ],
)
def test_faults_of_a_folder_are_an_error(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message) as error:
        prepare_dataset(folder, FOLDER)
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
def test_settings_that_do_not_fit_are_an_error(folder, settings, message):
    with pytest.raises(InputError, match=message):
        prepare_dataset(folder, settings)
        load_split(folder, "train", settings)


def test_images_are_scaled_by_mean_and_std():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).repeat(3, 1)[None, :, None]
    own = Engine(mean=(0.0, 0.2, 0.4), std=(1.0, 2.0, 0.5)).prepare(images)
    by_hand = [[0.0, 0.2, 1.0], [-0.1, 0.0, 0.4], [-0.8, -0.4, 1.2]]
    torch.testing.assert_close(own[0, :, 0], torch.tensor(by_hand))
    # Without them, unchanged to the last bit.
    assert torch.equal(REFERENCE.prepare(images), images / 255)


def test_mean_and_std_are_in_the_manifest(folder):
    scaled = FOLDER | {"mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 0.5]}
    manifest = prepare_dataset(folder, scaled)
    assert (manifest["mean"], manifest["std"]) == (scaled["mean"], scaled["std"])
    assert manifest["digest"] != prepare_dataset(folder, FOLDER)["digest"]


def test_the_digest_of_digits_is_unchanged():
    settings = {"name": "digits", "calibration": None, "test": None, "split_seed": 42}
    digest = "84c644a702bd7f64feff402111aa7e93f0059b125f5157754ad607babb89af55"
    assert prepare_dataset("nowhere", settings)["digest"] == digest


def test_a_checksum_covers_names_and_contents(folder, tmp_path, monkeypatch):
    notes = tmp_path / "notes/own.json"
    first = checksum(folder, notes)
    for file in folder.rglob("*.png"):
        os.utime(file, (1e9, 1e9))
    (folder / "bee/.DS_Store").write_text("another")
    assert checksum(folder, notes) == first
    # Files in the cache are not read again.
    with monkeypatch.context() as patch:
        patch.setattr("early_exit.io.checksums.sha256", lambda path: pytest.fail(f"read {path}"))
        assert checksum(folder, notes) == first
    notes.write_text("no JSON")
    assert checksum(folder, notes) == first
    (folder / "bee/3.png").rename(folder / "bee/33.png")
    renamed = checksum(folder, notes)
    draw(folder / "cow/0.png", 3)
    assert len({first, renamed, checksum(folder, notes)}) == 3


def test_an_unreadable_file_is_an_error_of_the_checksum(folder, tmp_path, monkeypatch):
    (folder / "bee/link.png").symlink_to(folder / "absent.png")
    with pytest.raises(
        InputError, match=r"bee/link\.png: a broken link .*; repair or remove it"
    ) as error:
        checksum(folder, tmp_path / "notes.json")
    assert "\n" not in str(error.value)
    (folder / "bee/link.png").unlink()

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("early_exit.io.checksums.sha256", refused)
    with pytest.raises(InputError, match=r"\.png: cannot be read \(Permission denied\)"):
        checksum(folder, tmp_path / "notes.json")


def test_a_checksum_works_without_a_cache(folder, tmp_path):
    first = checksum(folder, tmp_path / "notes.json")
    in_the_way = tmp_path / "file"
    in_the_way.write_text("x")
    assert checksum(folder, in_the_way / "notes.json") == first
    assert checksum(folder / "bee/0.png", tmp_path / "one.json") != first
