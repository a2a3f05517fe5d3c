"""Data sets of the user's own: a class in a file, read, checked, and refused in one line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from early_exit.config import fingerprint
from early_exit.datasets.load import SPLITS, check_settings, load_split, prepare_dataset
from early_exit.errors import InputError
from early_exit.networks.build import build_network
from early_exit.structures.inputs import InputSpec

NAME = "own/data.py:Data"
SETTINGS = {
    "name": NAME,
    "calibration": None,
    "test": None,
    "split_seed": 1,
    "arguments": {},
    "mean": None,
    "std": None,
}
PLAIN = """
import numpy as np

from sizes import SAMPLES


class Data:
    class_names = ("low", "high")

    def __init__(self, path, scale=1.0):
        self.path, self.scale = path, scale

    def split(self, name):
        if name not in SAMPLES:
            return None
        count = SAMPLES[name]
        rng = np.random.default_rng(len(name))
        ids = rng.integers(0, 9, (count, 4))
        labels = np.arange(count) % 2
        return {"x": self.scale * rng.random((count, 2, 3)), "ids": ids}, labels
"""
SIZES = 'SAMPLES = {"train": 20, "calibration": 8, "test": 6}\n'


@pytest.fixture(autouse=True)
def _forget():
    """Forget files and modules that change within a test."""
    yield
    fingerprint._read.cache_clear()
    sys.modules.pop("sizes", None)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the file of the class, and that of its sizes."""
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()

    def written(text=PLAIN, sizes=SIZES):
        Path("own/data.py").write_text(text)
        Path("own/sizes.py").write_text(sizes)
        fingerprint._read.cache_clear()
        sys.modules.pop("sizes", None)

    written()
    return written


def small(body, **attributes):
    """A class whose `split` has this body."""
    lines = "".join(f"    {key} = {value}\n" for key, value in attributes.items())
    return (
        "import numpy as np\nimport torch\n\n\n"
        f"class Data:\n{lines}    def split(self, name):\n        {body}\n"
    )


def test_its_arrays_are_the_splits(write):
    manifest = prepare_dataset("somewhere", SETTINGS | {"arguments": {"scale": 2.0}})
    assert manifest["class_names"] == ["low", "high"]
    assert "shape" not in manifest
    spec = InputSpec.read(json.loads(json.dumps(manifest)))
    assert spec.kinds == {"ids": ["int64", [4]], "x": ["float32", [2, 3]]}
    assert list(manifest["files"]) == [*SPLITS]
    for split, size in (("train", 20), ("calibration", 8), ("test", 6)):
        data = load_split("somewhere", split, SETTINGS, None)
        assert len(data) == size
        assert data.inputs["x"].dtype == torch.float32
        assert data.inputs["ids"].shape == (size, 4)
        assert data.labels.tolist() == [number % 2 for number in range(size)]
        assert data.index.tolist() == list(range(size))
    rng = np.random.default_rng(len("test"))
    assert (data.inputs["ids"].numpy() == rng.integers(0, 9, (6, 4))).all()


@pytest.mark.parametrize(
    ("sizes", "settings", "expected"),
    [
        ({"train": 20}, {}, (16, 2, 2)),
        ({"train": 20}, {"test": 5, "calibration": 3}, (12, 3, 5)),
        ({"train": 20, "test": 7}, {"calibration": 4}, (16, 4, 7)),
        ({"train": 20, "calibration": 8}, {"test": 2}, (20, 6, 2)),
    ],
)
def test_a_split_that_it_has_not_is_cut_off(write, sizes, settings, expected):
    write(sizes=f"SAMPLES = {sizes}\n")
    manifest = prepare_dataset("x", SETTINGS | settings)
    assert list(manifest["files"]) == [*sizes]
    found = {split: load_split("x", split, SETTINGS | settings, manifest) for split in SPLITS}
    assert tuple(map(len, found.values())) == expected
    # Together they are what the class returned, each sample once.
    seen = [tuple(row.flatten().tolist()) for data in found.values() for row in data.inputs["x"]]
    assert len(set(seen)) == len(seen) == sum(sizes.values())
    assert all((data.labels == data.index % 2).all() for data in found.values())


def test_a_size_of_a_split_that_it_has_is_refused(write):
    with pytest.raises(InputError, match=r"dataset\.test: own/data\.py:Data has test samples"):
        prepare_dataset("x", SETTINGS | {"test": 3})


def test_what_identifies_it(write):
    first = prepare_dataset("x", SETTINGS)["digest"]
    write(PLAIN + "\n# A remark.\n")
    assert prepare_dataset("y", SETTINGS)["digest"] == first
    changes = (
        (PLAIN.replace("len(name)", "len(name) + 1"), SIZES, {}),
        (PLAIN, SIZES.replace("20", "22"), {}),
        (PLAIN, SIZES, {"arguments": {"scale": 3}}),
    )
    for text, sizes, settings in changes:
        write(text, sizes)
        assert prepare_dataset("x", SETTINGS | settings)["digest"] != first


def test_its_own_digest_is_taken(write):
    write(PLAIN + "\n    def digest(self):\n        return self.path\n")
    assert prepare_dataset("x", SETTINGS)["files"] == {"digest": "x"}
    manifest = prepare_dataset("y", SETTINGS)
    load_split("y", "train", SETTINGS, manifest)
    with pytest.raises(InputError, match=r"digest\(\) returns other data than when"):
        load_split("x", "train", SETTINGS, manifest)


def test_data_that_change_from_job_to_job_are_refused(write):
    write(PLAIN.replace("default_rng(len(name))", "default_rng()"))
    manifest = prepare_dataset("x", SETTINGS)
    with pytest.raises(InputError, match=r"split\('test'\) returns other data .* fixed seeds"):
        load_split("x", "test", SETTINGS, manifest)


def test_images_are_images_if_it_says_so(write):
    body = "return np.full((20, 4, 5, 6), 7, np.uint8), np.arange(20) % 3"
    write(small(body, images=True))
    manifest = prepare_dataset("x", SETTINGS)
    assert manifest["shape"] == [4, 5, 6]
    assert manifest["class_names"] == ["0", "1", "2"]
    with pytest.raises(InputError, match=r"dataset\.mean: 3 numbers for images of 4 channels"):
        prepare_dataset("x", SETTINGS | {"mean": [0.5] * 3, "std": [1.0] * 3})
    write(small(body))
    assert InputSpec.read(prepare_dataset("x", SETTINGS)).kinds == ["uint8", [4, 5, 6]]
    with pytest.raises(InputError, match=r"dataset\.mean: only images are scaled"):
        prepare_dataset("x", SETTINGS | {"mean": [0.5], "std": [1.0]})


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        ("np.ones((20, 3))", ["float32", [3]]),
        ("np.ones(20, np.float16)", ["float32", []]),
        ("np.ones((20, 3), '>f8')", ["float32", [3]]),
        ("np.ones((20, 3), np.uint16)", ["int32", [3]]),
        ("np.ones((20, 3), np.uint32)", ["int64", [3]]),
        ("np.ones((20, 3), '>i4')", ["int32", [3]]),
        ("np.ones((20, 3), np.int8)", ["int8", [3]]),
        ("np.ones((20, 3), bool)", ["bool", [3]]),
        ("torch.ones(20, 3, dtype=torch.bfloat16)", ["float32", [3]]),
        ("torch.ones(20, 3, requires_grad=True)", ["float32", [3]]),
        ("(np.ones(20), torch.ones(20, 3))", [["float32", []], ["float32", [3]]]),
    ],
)
def test_types_that_are_taken(write, array, kind):
    write(small(f"return {array}, np.arange(20) % 2"))
    found = InputSpec.read(prepare_dataset("x", SETTINGS)).kinds
    assert (list(found) if isinstance(found, tuple) else found) == kind
    load_split("x", "train", SETTINGS)


@pytest.mark.parametrize(
    "labels",
    [
        "np.arange(20) % 2 == 1",
        "(np.arange(20) % 2).astype(float)",
        "(torch.arange(20) % 2).float()[:, None]",
        "[number % 2 for number in range(20)]",
        "(np.arange(20) % 2).astype(np.uint8)",
    ],
)
def test_labels_of_two_classes(write, labels):
    write(small(f"return np.ones((20, 3)), {labels}"))
    assert prepare_dataset("x", SETTINGS)["classes"] == 2
    data = load_split("x", "train", SETTINGS)
    assert data.labels.dtype == torch.int64
    assert (data.labels == data.index % 2).all()


X, Y = "np.ones((20, 3))", "np.arange(20) % 2"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return None", r"split\('train'\) returned None; return the inputs"),
        (f"return {X}", r"split\('train'\) returned no pair"),
        (f"return {X}, {Y}, {Y}", "returned no pair"),
        ("1 / 0", r"split\('train'\) failed \(ZeroDivisionError"),
        (f"return {{'train': ({X}, {Y})}}[name]", r"split\('calibration'\) failed .*; return None"),
        ("raise SystemExit(0)", r"split\('train'\) failed \(SystemExit: 0\)"),
        ("open('gone.csv')", r"split\('train'\) failed \(.*gone\.csv"),
        (f"return {X}[:19], {Y}", "19 inputs, but 20 labels"),
        (f"return {{'a': {X}, 'b': {X}[:19]}}, {Y}", r"inputs\['a'\] has 20 .*\['b'\] has 19"),
        (f"return {{'a': {X}, 3: {X}}}, {Y}", "the key 3 is no string"),
        (f"return {{}}, {Y}", "inputs: empty"),
        (f"return [[1, 2]] * 20, {Y}", "inputs: a list, but must be .*np.asarray"),
        (f"return np.array([[1], [1, 2]] * 10, object), {Y}", "object .* with a mask"),
        (f"return np.array(['a'] * 20), {Y}", "<U1 of .*; turn text into numbers"),
        (f"return 1j * {X}, {Y}", "complex128"),
        (f"return np.array(3.0), {Y}", "samples must be the first axis"),
        (f"return np.ones((20, 0)), {Y}", r"shape \(20, 0\)"),
        (f"return np.where(np.arange(20) == 7, np.nan, 1), {Y}", "NaN .* in sample 7"),
        (f"return np.where(np.arange(20) == 9, 1e300, 1), {Y}", "infinite .* in sample 9"),
        (f"return np.full(20, 2**63, np.uint64), {Y}", "the value 9223372036854775808"),
        (f"return torch.eye(20).to_sparse(), {Y}", "inputs: no plain tensor"),
        (f"return {X}, torch.eye(20).to_sparse()", "labels are no array"),
        (f"return {X}, {Y} - 1", "labels are int64 .* integers from 0"),
        (f"return {X}, {Y} / 2", "labels are float64"),
        (f"return {X}, np.array(['a'] * 20)", "labels are <U1"),
        (f"return {X}, [[0], [1, 2]]", "labels are no array"),
        (f"return {X}, np.arange(20) * 2", "the label 38, but only 20 classes"),
        (f"return {X}, 0 * {Y}", r"1 class_names, but labels up to 0"),
        (
            f"return np.ones((20, len(name))), {Y}",
            r"split\('calibration'\): .*\[11\].*train.*\[5\]",
        ),
        (f"return ({X} if name[0] == 't' else {{'a': {X}}}), {Y}", r"\['a'\], but split\('train'"),
    ],
)
def test_arrays_that_are_refused(write, body, message):
    write(small(body))
    with pytest.raises(InputError, match=message) as error:
        prepare_dataset("x", SETTINGS)
    assert NAME in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Data:\n    pass\n", "Data has no method split"),
        ("def Data():\n    return 3\n", "int has no method split"),
        (
            "class Data:\n    @property\n    def split(self):\n        return 1 / 0\n",
            "split failed .ZeroDivisionError",
        ),
        ("class Data:\n    def __init__(self, x):\n        pass\n", "cannot be instantiated .Type"),
        ("import gone_for_good\n\n\nclass Data:\n    pass\n", "cannot be imported"),
        ("class Date:\n    pass\n", "no class or function Data; did you mean Date"),
        (small(f"return {X}, {Y}", images=1), "images is 1, but must be True or False"),
        (small(f"return {X}, {Y}", images=True), "float32 of shape .* but images must be uint8"),
        (small(f"return {X}, {Y}", class_names="'ab'"), "class_names must be a list"),
        (small(f"return {X}, {Y}", class_names=[1, 2]), "class_names must be a list"),
        (small(f"return {X}, {Y}", class_names=["a"]), "1 class_names, but labels up to 1"),
        (small(f"return {X}, {Y}", class_names=["a", "b", "c"]), "is of the class c"),
        (small(f"return {X}, {Y}", digest="lambda self: 3"), r"digest\(\) returned 3"),
        (small(f"return {X}, {Y}", state="lambda self: 3"), r"no load_state\(state\)"),
        (
            small(f"return {X}, {Y}", state="lambda self: {1j}", load_state="print"),
            r"state\(\) cannot be written as JSON",
        ),
    ],
)
def test_classes_that_are_refused(write, text, message):
    write(text)
    with pytest.raises(InputError, match=message) as error:
        prepare_dataset("x", SETTINGS)
    assert "own/data.py" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scal": 2}, r"own/data\.py:Data: takes no argument scal; did you mean scale\?"),
        ({"path": "x"}, "takes no argument path"),
    ],
)
def test_arguments_that_are_refused(write, arguments, message):
    with pytest.raises(InputError, match=message):
        prepare_dataset("x", SETTINGS | {"arguments": arguments})


def test_what_makes_new_samples_is_made_before_anything_long(write):
    reading = PLAIN.replace("self.scale = path, scale", "self.scale = len(path), scale")
    write(reading)
    prepare_dataset("x", SETTINGS)
    write(reading + "\n    def read(self, path):\n        return path\n")
    with pytest.raises(InputError, match=r"with path=None: read files in split, not before"):
        prepare_dataset("x", SETTINGS)


def test_a_module_of_another_folder_is_not_taken_for_its_own(write, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "data.py").write_text(PLAIN)
    (other / "sizes.py").write_text(SIZES)
    prepare_dataset("x", SETTINGS)
    message = r"data\.py: imports sizes from its own folder, but .*own/sizes\.py has that name too"
    with pytest.raises(InputError, match=message):
        prepare_dataset("x", SETTINGS | {"name": "other/data.py:Data"})


def test_settings_of_other_data_sets_are_refused():
    check_settings(SETTINGS | {"path": None, "size": None})
    with pytest.raises(InputError, match=r"dataset\.size: own/data\.py:Data takes no size"):
        check_settings(SETTINGS | {"size": 3})
    with pytest.raises(InputError, match=r"dataset\.arguments: digits takes no arguments"):
        check_settings({"name": "digits", "arguments": {"a": 1}})
    check_settings({"name": "digits", "arguments": {}})


def test_a_data_set_and_a_network_may_share_a_file(write):
    write(
        PLAIN
        + """

from torch import nn


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stages = nn.ModuleList([nn.Flatten(), nn.Identity()])
        self.heads = nn.ModuleList([nn.Linear(4, classes), nn.Linear(4, classes)])
"""
    )
    prepare_dataset("x", SETTINGS)
    assert build_network("own/data.py:Net", 2, [1, 2, 2]).heads[0].out_features == 2
