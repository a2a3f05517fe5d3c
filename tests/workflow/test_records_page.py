"""The page on records of one's own, followed to the letter, where no torch is installed."""

import json
import re
import subprocess

import pytest

from conftest import ROOT

pytestmark = pytest.mark.thorough

PAGE = (ROOT / "docs/records.md").read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [text for own, text in found if own == language]


def test_from_an_npz_to_a_chosen_policy(project, core):
    project.python = str(core)
    (script,), (table,), (experiment,), (headline,) = map(blocks, ("python", "csv", "yaml", ""))
    (project.folder / "make_records.py").write_text(script)
    (project.folder / "costs.csv").write_text(table)
    (project.folder / "config.yaml").write_text(f"experiments:\n{experiment}")
    _, make, run = blocks("sh")
    assert make.split() == ["python3", "make_records.py"]
    subprocess.run([core, "make_records.py"], cwd=project.folder, check=True)
    assert run.split()[0] == "snakemake"
    done = project.run(*run.split()[1:], check=True)
    assert headline.strip() in done.stdout + done.stderr
    folder = project.folder / "results/mine"
    policy = json.loads((folder / "selection/policy.json").read_text())
    assert len(policy["policy"]["thresholds"]) == 2
    assert json.loads((folder / "summary.json").read_text())["simulated"] is True
