"""The pages on kinds of networks, followed to the letter: data, network, run, export."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from conftest import ROOT, SMALL, copy_of_project

pytestmark = pytest.mark.thorough

PAGES = {"multi_scale": "scales", "tokens": "encoder", "windows": "windows", "rows": "rows"}
QUICK = {"evaluation": SMALL["evaluation"], "frontier": {"methods": []}, "reliability": False}
QUICK |= {"cost": {"repeats": 3, "batch_sizes": [1, 32]}}


def blocks(page, language):
    """The code blocks of a page in a language."""
    text = (ROOT / f"docs/kinds/{page}.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_followed(page, tmp_path):
    project, name = copy_of_project(tmp_path), PAGES[page]
    own = project.folder / "own"
    own.mkdir()
    experiment = yaml.safe_load(blocks(page, "yaml")[0])[name]
    for block in blocks(page, "python"):
        if "np.savez" in block:
            (own / "data.py").write_text(block)
            subprocess.run([sys.executable, "own/data.py"], cwd=project.folder, check=True)
        elif block.startswith('"""'):
            (project.folder / experiment["network"]["name"].partition(":")[0]).write_text(block)
    project.configure(run=name, experiments={name: experiment | QUICK})
    project.run("--cores", "2", "all", "export", check=True)
    results = project.folder / "results" / name
    found = json.loads((results / "evaluation/evaluation.json").read_text())
    samples = found["agreement"]["equal"] + found["agreement"]["ties"]
    assert found["agreement"]["different"] == 0
    exported = json.loads((results / "export/comparison.json").read_text())
    assert exported["agreement"]["different"] == 0
    assert exported["samples"] == samples
    summary = json.loads((results / "summary.json").read_text())
    assert summary["full_network"]["accuracy"] > 0.7
