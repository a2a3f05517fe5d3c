"""The workflow's own library wins over an installed package of the same name."""

import os
import subprocess
import sys
import venv

import pytest
from test_as_module import SMALL_ALONE, parent

from conftest import ROOT, Project, copy_of_project

pytestmark = pytest.mark.thorough

WRONG = "raise SystemExit('the installed package was imported')"
# A script of another workflow, with a module beside it that is named as one of ours.
SCRIPT = """
import figures

print(figures.WHOSE, file=open(snakemake.output[0], "w"))
"""
RULE = """
rule theirs:
    output: "theirs.txt"
    script: "scripts/theirs.py"
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> str:
    """The Python of an environment with all packages, and another `early_exit`, installed."""
    folder = tmp_path_factory.mktemp("decoy") / "env"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "early_exit").mkdir()
    (packages / "early_exit/__init__.py").write_text(WRONG)
    others = [path for path in sys.path if path.endswith("site-packages")]
    # Behind this environment's own, as `.pth` files append.
    (packages / "others.pth").write_text("\n".join(others))
    python = str(folder / "bin/python")
    shown = subprocess.run([python, "-c", "import early_exit"], capture_output=True, text=True)
    assert "the installed package was imported" in shown.stderr
    return python


def test_in_the_workflow_and_its_jobs(project, python):
    project.python = python
    project.run("--cores", "2", "data", check=True)
    assert project.path("data/manifest.json").is_file()


def with_its_own_script(project: Project) -> Project:
    """Let the other workflow have a script, and a module named `figures`."""
    scripts = project.folder / "scripts"
    scripts.mkdir()
    (scripts / "theirs.py").write_text(SCRIPT)
    (scripts / "figures.py").write_text("WHOSE = 'theirs'")
    with (project.folder / "Snakefile").open("a") as file:
        file.write(RULE)
    return project


def test_as_a_module_beside_other_scripts(tmp_path, python):
    ours = copy_of_project(tmp_path)
    project = parent(tmp_path / "parent", f'"{ours.folder}/Snakefile"', SMALL_ALONE)
    with_its_own_script(project).python = python
    project.run("--cores", "2", "ee_data", "theirs", check=True)
    assert (project.folder / "results/small/data/manifest.json").is_file()
    assert (project.folder / "theirs.txt").read_text() == "theirs\n"


def test_in_the_command_of_a_clone(tmp_path, python):
    command = [python, ROOT / "scripts/early-exit", "--version"]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ)
    assert shown.stdout.startswith("early-exit "), shown.stderr
