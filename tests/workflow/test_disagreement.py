"""A run that does not do what the records say ends the workflow, in a lower precision too."""

import json

import pytest

from conftest import SMALL

pytestmark = pytest.mark.thorough

CORRECT = "prediction[exiting]"


@pytest.mark.faults
def test_a_fault_in_the_runner_is_found_in_bf16(project, tally):
    settings = SMALL | {"inference": {"precision": "bf16"}}
    project.configure(run="small", experiments={"small": settings})
    project.edit("scripts/early_exit/inference/runner.py", CORRECT, f"{CORRECT}.flip(0)")
    done = project.run("--cores", "2", "evaluate")
    assert done.returncode != 0
    said = [
        line
        for line in done.stderr.splitlines()
        if "the code that runs the policy is at fault" in line
    ]
    assert said, done.stderr[-2000:]
    assert "in bf16" in said[0]
    assert "restore these files if they were edited" in said[0]
    assert not project.path("evaluation/evaluation.json").exists()
    # What it says to do.
    project.edit("scripts/early_exit/inference/runner.py", f"{CORRECT}.flip(0)", CORRECT)
    project.run("--cores", "2", "evaluate", check=True)
    agreement = json.loads(project.path("evaluation/evaluation.json").read_text())["agreement"]
    assert agreement["different"] == 0
    assert agreement["equal"] + agreement["ties"] + agreement["rounded"] == 200
    tally["faults in what runs a policy, found in bf16"] += 1
