"""The page on networks, followed to the letter: what it says to add is added, and run."""

import json
import re

import pytest

from conftest import ROOT

pytestmark = pytest.mark.thorough

PAGE = (ROOT / "docs/networks.md").read_text()


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return found


@pytest.fixture
def followed(project):
    """The project after the page's first three steps."""
    (project.folder / "scripts/early_exit/networks/zoo/narrow.py").write_text(
        block("python", "class Network")
    )
    project.edit(
        "scripts/early_exit/config/schema.yaml",
        "enum: &networks [branchynet",
        "enum: &networks [narrow, branchynet",
    )
    config = (ROOT / "config.yaml").read_text().rstrip("\n") + "\n\n" + block("yaml", "  narrow:")
    (project.folder / "config.yaml").write_text(config)
    return project


def test_the_network_of_the_page_runs(followed):
    followed.run("--cores", "2", "--config", "run=narrow", check=True)
    summary = json.loads((followed.folder / "results/narrow/summary.json").read_text())
    assert (summary["network"], summary["exits"]) == ("narrow", 2)
    # Two strided convolutions, by hand, and the last of the linear layers.
    assert summary["full_network"]["macs"] == 27 * 16 * 256 + 144 * 32 * 64 + 16 * 32 * 10
    assert summary["full_network"]["accuracy"] > 0.8
    planned = followed.planned("ship", "--config", "run=narrow@0")
    assert {"train_network", "ship_network"} <= planned.keys()
    assert followed.planned("replicates", "--config", "run=narrow")["train_network"] == 5
