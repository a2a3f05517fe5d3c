"""examples/quickstart.ipynb runs from a clean clone, and on the results of a workflow run."""

import re
import shutil
from pathlib import Path

import pytest

from api_runs import write_run

ROOT = Path(__file__).parents[3]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
nbformat = pytest.importorskip("nbformat")


def cells():
    return nbformat.read(NOTEBOOK, as_version=4).cells


def test_it_contains_no_outputs_and_no_local_paths():
    code = [cell for cell in cells() if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert not re.search(r"/(home|work|root|Users|tmp)/", NOTEBOOK.read_text())


def test_every_step_is_explained():
    kinds = [cell.cell_type for cell in cells()]
    assert kinds[0] == kinds[1] == "markdown"
    heads = [cell for cell in cells() if cell.cell_type == "markdown"][1:]
    assert all(re.match(r"## \d\. .+\n\n.{60,}", cell.source, re.DOTALL) for cell in heads)


@pytest.mark.parametrize("with_results", [False, True])
def test_it_runs(tmp_path, monkeypatch, with_results):
    """Without results, and with a results folder beside it."""
    client = pytest.importorskip("nbclient")
    folder = tmp_path / "examples"
    folder.mkdir()
    shutil.copy(NOTEBOOK, folder)
    if with_results:
        write_run(tmp_path / "results" / "digits")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "scripts"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(folder / NOTEBOOK.name, as_version=4)
    settings = {"timeout": 120, "resources": {"metadata": {"path": str(folder)}}}
    client.NotebookClient(notebook, **settings).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "\n".join(str(output) for output in outputs)
    assert text.count("image/png") == 5
    assert ("500 calibration, 300 test" if with_results else "450 calibration, 450 test") in text
    assert "stderr" not in text
    assert [file.name for file in folder.iterdir()] == [NOTEBOOK.name]
