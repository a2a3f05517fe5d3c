"""The exported runner on another backend, and its command line."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from early_exit.export.graphs import export
from early_exit.io.files import write_json
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import uniform
from helpers import PROVENANCE, SmallNetwork, random_images
from unit.export.test_graphs import MANIFEST, runner_module

POLICY = uniform(ExitCriterion(), 0.6, 3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An export of a network; made once. Not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "export"
    folder.mkdir()
    known = {"policy": POLICY.to_json(), "identity": PROVENANCE, "calibration": {"accuracy": 0.5}}
    write_json(folder.parent / "policy.json", known)
    export(SmallNetwork().eval(), folder.parent / "policy.json", known, MANIFEST, folder)
    return folder


def with_pair(made, folder, backend, precision):
    """A copy of the export, found for another pair."""
    for path in made.rglob("*"):
        if path.is_file():
            own = folder / path.relative_to(made)
            own.parent.mkdir(parents=True, exist_ok=True)
            own.write_bytes(path.read_bytes())
    content = json.loads((folder / "manifest.json").read_text())
    content.pop("checksum")
    write_json(folder / "manifest.json", content | {"backend": backend, "precision": precision})
    return folder


def test_both_backends_agree(made):
    pytest.importorskip("openvino")
    images, module = random_images(60).numpy(), runner_module()
    runners = [module.EarlyExitRunner(made, 1, backend) for backend in ("onnxruntime", "openvino")]
    assert [one.backend for one in runners] == ["onnxruntime", "openvino"]
    for size in (1, 60):
        (one, taken, unsure), (other, also, near) = (own.run(images, size) for own in runners)
        assert np.array_equal(one, other)
        assert np.array_equal(taken, also)
        np.testing.assert_allclose(unsure, near, atol=1e-5)
    assert len(set(taken)) > 1


def test_the_backend_of_the_policy_is_the_default(made, tmp_path):
    module = runner_module()
    assert module.EarlyExitRunner(made).backend == "onnxruntime"
    in_bf16 = with_pair(made, tmp_path, "openvino", "bf16")
    with pytest.raises(module.ExportError, match=r"onnxruntime has no bf16, .* use openvino"):
        module.EarlyExitRunner(in_bf16, backend="onnxruntime")
    pytest.importorskip("openvino")
    found = module.EarlyExitRunner(in_bf16)
    assert (found.backend, found.precision) == ("openvino", "bf16")


def test_a_backend_that_is_missing_or_unknown_is_one_line(made, monkeypatch):
    module = runner_module()
    with pytest.raises(module.ExportError, match="tvm; it must be onnxruntime or openvino"):
        module.EarlyExitRunner(made, backend="tvm")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(module.ExportError, match="openvino: not installed; pip install openvino"):
        module.EarlyExitRunner(made, backend="openvino")


def test_files_and_folders_are_classified_and_timed(made, tmp_path):
    (tmp_path / "inner").mkdir()
    for number, image in enumerate(random_images(3).numpy()):
        path = tmp_path / ("inner" if number else "") / f"{number}.png"
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    # No image, and not asked for by name.
    (tmp_path / "notes.txt").write_text("x")
    command = [sys.executable, made / "runner.py"]
    given = [tmp_path, tmp_path / "0.png"]
    done = subprocess.run([*command, *given], capture_output=True, text=True)
    assert done.returncode == 0
    names = [line.split("\t")[0].rpartition("/")[2] for line in done.stdout.splitlines()]
    assert names == ["0.png", "1.png", "2.png", "0.png"]
    assert done.stderr.startswith("4 images, one at a time, without reading them: p50 ")
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    assert "--backend {onnxruntime,openvino}" in shown.stdout
    nothing = subprocess.run(command, capture_output=True, text=True)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "give image files or folders, or --npz FILE" in nothing.stderr
