"""Images in a NumPy file."""

import zipfile

import numpy as np
import pytest
import torch

from early_exit.datasets.load import SPLITS, load_split, prepare_dataset
from early_exit.errors import InputError
from early_exit.structures.inputs import InputSpec
from fuzzing import limits

NPZ = {"name": "npz", "calibration": 4, "test": None, "split_seed": 1}


def splits(path, settings):
    return {split: load_split(path, split, settings) for split in SPLITS}


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
    manifest = prepare_dataset(path, NPZ)
    assert manifest["class_names"] == ["a", "b, c", "007"]
    assert manifest["shape"] == [3, 6, 5]
    found = splits(path, NPZ)
    assert [len(data) for data in found.values()] == [14, 4, 2]
    for data in found.values():
        own = arrays()["images"][data.index.numpy()].transpose(0, 3, 1, 2)
        assert (data.inputs.numpy() == own).all()
        assert data.labels.tolist() == (data.index % 3).tolist()


def test_channels_may_be_first_or_missing(tmp_path):
    first = saved(tmp_path, images=np.zeros((20, 3, 6, 5), np.uint8))
    assert prepare_dataset(first, NPZ)["shape"] == [3, 6, 5]
    grey = saved(tmp_path, images=np.zeros((20, 6, 5), np.uint8), class_names=None)
    manifest = prepare_dataset(grey, NPZ)
    assert manifest["shape"] == [1, 6, 5]
    assert manifest["class_names"] == ["0", "1", "2"]


def test_a_large_test_split_leaves_the_train_split(tmp_path):
    own = {"test_images": np.zeros((300, 6, 5, 3), np.uint8), "test_labels": np.arange(300) % 3}
    found = splits(saved(tmp_path, **own), NPZ | {"calibration": None})
    assert [len(data) for data in found.values()] == [18, 2, 300]


def test_arrays_with_a_test_split(tmp_path):
    own = {"test_images": np.full((5, 6, 5, 3), 7, np.uint8), "test_labels": np.arange(5) % 3}
    path = saved(tmp_path, **own)
    found = splits(path, NPZ)
    assert [len(data) for data in found.values()] == [16, 4, 5]
    assert (found["test"].inputs == 7).all()
    assert found["test"].index.tolist() == list(range(20, 25))
    with pytest.raises(InputError, match=r"dataset\.test: .* has test samples of its own"):
        prepare_dataset(path, NPZ | {"test": 3})


def test_arrays_with_a_calibration_split(tmp_path):
    own = {"val_images": np.full((6, 6, 5, 3), 9, np.uint8), "val_labels": np.arange(6) % 3}
    path = saved(tmp_path, **own)
    unset = NPZ | {"calibration": None}
    found = splits(path, unset)
    assert [len(data) for data in found.values()] == [20, 3, 3]
    assert (found["test"].inputs == 9).all()
    assert (found["calibration"].inputs == 9).all()
    with pytest.raises(InputError, match=r"dataset\.calibration: .*samples of its own"):
        prepare_dataset(path, NPZ)
    both = own | {"test_images": own["val_images"][:2], "test_labels": own["val_labels"][:2]}
    assert [len(data) for data in splits(saved(tmp_path, **both), unset).values()] == [20, 6, 2]
    with pytest.raises(InputError, match="has no val_labels"):
        prepare_dataset(saved(tmp_path, val_images=own["val_images"]), unset)
    with pytest.raises(InputError, match="has valid_images, which is not read; the parts are"):
        prepare_dataset(saved(tmp_path, valid_images=own["val_images"]), unset)


def test_other_arrays_are_ignored(tmp_path):
    path = saved(tmp_path, ids=np.array([{"an": "object"}], object), notes=np.arange(3))
    assert prepare_dataset(path, NPZ)["classes"] == 3


def test_a_single_array_is_an_error(tmp_path):
    np.save(tmp_path / "own.npy", np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(InputError, match=r"own\.npy: .*a single array .*use np\.savez"):
        prepare_dataset(tmp_path / "own.npy", NPZ)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (np.array([0, 1, 2, 10**9]), None, "the label 1000000000; .* at most 1000000 of them"),
        (np.array([0, 1, 2, 2**63 + 1], np.uint64), None, f"the label {2**63 + 1};"),
        (np.array([0, 1, 2, 999_999]), None, "the label 999999, but only 4 classes in images"),
        (np.array([0, 1, 2, 10**9]), ["a", "b"], "the label 1000000000;"),
        (np.array([0, 1, 2, -(2**63)]), None, "labels are int64"),
        (np.array([0, 1, 1, 0]), ["a", "b\x1b[2J"], r"the class name 'b\\x1b\[2J' has"),
    ],
)
def test_impossible_labels_are_an_error(tmp_path, labels, names, message):
    path = tmp_path / "own.npz"
    of_names = {} if names is None else {"class_names": np.array(names)}
    np.savez(path, images=np.zeros((4, 8, 8, 3), np.uint8), labels=labels, **of_names)
    with limits(seconds=20, mebibytes=256), pytest.raises(InputError, match=message) as error:
        prepare_dataset(path, NPZ)
    assert str(error.value).isprintable()


def test_a_member_that_is_no_array_is_an_error(tmp_path):
    path = saved(tmp_path, labels=None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels", b"0, 1, 2")
    with pytest.raises(InputError, match=r"own\.npz: no arrays .*labels is no array"):
        prepare_dataset(path, NPZ)


def test_a_header_that_claims_too_much_is_an_error(tmp_path):
    path = saved(tmp_path, labels=None)
    header = np.lib.format.magic(1, 0)
    text = (
        b"{'descr': '<i8', 'fortran_order': False, 'shape': (999999999999,), }".ljust(117) + b"\n"
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.npy", header + len(text).to_bytes(2, "little") + text + bytes(80))
    with limits(seconds=20, mebibytes=256), pytest.raises(InputError, match="no arrays that can"):
        prepare_dataset(path, NPZ)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "has no images; it has: labels, class_names"),
        ({"images": np.zeros((20, 6, 5, 3), np.float32)}, "images are float32.*scale and round"),
        ({"images": np.zeros((20, 6, 5, 3), np.float16)}, "images are float16"),
        ({"images": np.zeros((20, 6, 5, 3), np.uint16)}, "images are uint16"),
        ({"images": np.zeros((20, 6, 5, 3), bool)}, "images are bool"),
        ({"images": np.zeros((20, 6, 5, 5), np.uint8)}, "no unambiguous dimension"),
        ({"images": np.zeros((20, 3, 6, 3), np.uint8)}, "no unambiguous dimension"),
        ({"images": np.zeros((19, 6, 5, 3), np.uint8)}, "19 images, but 20 labels"),
        ({"labels": np.arange(20) - 1}, "labels are int64"),
        ({"labels": np.arange(20) / 2}, "labels are float64"),
        ({"labels": np.arange(20)}, "3 class_names, but labels up to 19"),
        ({"labels": np.arange(20) % 2}, "nothing in images is of the class 007"),
        ({"class_names": np.array(["a", "a", "b"])}, "different strings"),
        ({"class_names": np.array(["a", "b\nc", "d"])}, r"the class name 'b\\nc' has a line break"),
        ({"class_names": np.array(["a", "b\rc", "d"])}, r"the class name 'b\\rc' has a line break"),
        ({"class_names": np.array([None, "a"], object)}, "no arrays that can be read safely"),
        ({"test_images": np.zeros((2, 6, 5, 3), np.uint8)}, "has no test_labels"),
        (
            {"test_images": np.zeros((2, 7, 5, 3), np.uint8), "test_labels": np.zeros(2, int)},
            "test_images: uint8 of shape .3, 7, 5. for a sample, but images: .*3, 6, 5.",
        ),
        ({"labels": np.array(3)}, "has no labels"),
    ],
)
def test_faults_of_arrays_are_an_error(tmp_path, changes, message):
    path = saved(tmp_path, **changes)
    with pytest.raises(InputError, match=rf"own\.npz: .*{message}"):
        prepare_dataset(path, NPZ)


def test_a_damaged_file_of_arrays_is_an_error(tmp_path):
    path = saved(tmp_path)
    original = path.read_bytes()
    for content in (b"", b"x" * 50, original[:-30], original[:300], b"\x80\x04K\x01."):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"own\.npz: no arrays that can be read safely"):
            prepare_dataset(path, NPZ)
    path.unlink()
    with pytest.raises(InputError, match="there is no such file"):
        prepare_dataset(path, NPZ)


def other(tmp_path, **arrays):
    path = tmp_path / "other.npz"
    np.savez(path, **({"labels": np.arange(20) % 2} | arrays))
    return path


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.ones((20, 3, 50)), ["float32", [3, 50]]),
        (np.ones((20, 7), np.float32), ["float32", [7]]),
        (np.ones((20, 9), np.uint16), ["int32", [9]]),
        (np.ones((20, 4, 6, 5), np.uint8), ["uint8", [4, 6, 5]]),
        (np.ones(20, bool), ["bool", []]),
    ],
)
def test_inputs_may_be_of_any_shape_and_type(tmp_path, array, kind):
    path = other(tmp_path, inputs=array)
    manifest = prepare_dataset(path, NPZ)
    assert InputSpec.read(manifest).kinds == kind
    assert "shape" not in manifest
    found = splits(path, NPZ)
    assert [len(data) for data in found.values()] == [14, 4, 2]
    assert all((data.labels == data.index % 2).all() for data in found.values())


def test_several_inputs_are_a_dictionary(tmp_path):
    ids, mask = np.arange(80).reshape(20, 4), np.ones((20, 4), bool)
    test = {"test_input_ids": 80 + ids[:5], "test_input_mask": mask[:5], "test_labels": [0] * 5}
    path = other(tmp_path, input_mask=mask, input_ids=ids, labels=np.arange(20) % 2 == 1, **test)
    spec = InputSpec.read(prepare_dataset(path, NPZ))
    assert spec.kinds == {"ids": ["int64", [4]], "mask": ["bool", [4]]}
    found = splits(path, NPZ)
    assert [len(data) for data in found.values()] == [16, 4, 5]
    for data in found.values():
        assert (data.inputs["ids"][:, 0] == 4 * data.index).all()
        assert data.inputs["mask"].dtype == torch.bool


@pytest.mark.parametrize("shape", [(20, 4, 6, 5), (20, 6, 5, 4), (20, 13, 64, 64), (20, 5, 4, 2)])
def test_images_of_other_channels(tmp_path, shape):
    images = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = other(tmp_path, images=images)
    channels = min(shape[1:])
    manifest = prepare_dataset(path, NPZ)
    assert manifest["shape"][0] == channels
    data = load_split(path, "train", NPZ)
    own = images if shape[1] == channels else images.transpose(0, 3, 1, 2)
    assert (data.inputs.numpy() == own[data.index.numpy()]).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"inputs": np.full((20, 3), np.nan)}, "inputs: NaN .* in sample 0"),
        ({"inputs": np.ones((19, 3))}, "19 inputs, but 20 labels"),
        ({"input_a": np.ones((20, 3)), "input_b": np.ones((19, 3))}, r"\['b'\] has 19"),
        ({"inputs": np.array(["a"] * 20)}, "inputs: <U1 .* turn text into numbers"),
        ({"inputs": np.array([1, "a"] * 10, object)}, "no arrays that can be read safely"),
        ({"inputs": np.ones((20, 3)), "input_b": np.ones((20, 3))}, "has inputs and input_b; name"),
        ({"inputs": np.ones((20, 3)), "images": np.ones((20, 3))}, "has images and inputs; give"),
        (
            {"inputs": np.ones((20, 3)), "valid_inputs": np.ones(3)},
            "has valid_inputs, which is not",
        ),
        ({"input_a": np.ones(20), "train_input_a": np.ones(3)}, "has train_input_a, which is not"),
        ({"inputs": np.ones((20, 3)), "val_labels": np.ones(3, int)}, "has no val_inputs"),
        (
            {"inputs": np.ones((20, 3)), "test_inputs": np.ones((2, 4)), "test_labels": [0, 1]},
            r"test_inputs: float32 of shape \[4\] for a sample, but inputs: float32 of shape \[3\]",
        ),
        (
            {"input_a": np.ones(20), "test_input_b": np.ones(2), "test_labels": [0, 1]},
            r"test_inputs: \['b'\], but inputs: \['a'\]",
        ),
        ({"inputs": np.ones((20, 3)), "labels": np.arange(20) / 2}, "labels are float64"),
        (
            {"inputs": np.ones((20, 3)), "labels": np.arange(20) // 19 * 2},
            "only 2 classes in inputs",
        ),
    ],
)
def test_faults_of_other_inputs_are_an_error(tmp_path, arrays, message):
    with pytest.raises(InputError, match=rf"other\.npz: .*{message}") as error:
        prepare_dataset(other(tmp_path, **arrays), NPZ)
    assert "\n" not in str(error.value)


def test_only_images_have_a_mean(tmp_path):
    settings = NPZ | {"mean": [0.5], "std": [1.0]}
    with pytest.raises(
        InputError, match=r"dataset\.mean: only images are scaled, and npz has none"
    ):
        prepare_dataset(other(tmp_path, inputs=np.ones((20, 3))), settings)
