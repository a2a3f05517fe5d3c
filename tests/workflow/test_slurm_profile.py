"""The Slurm profile, planned without a Slurm (tests/cluster runs it)."""

import re

import pytest
import yaml

from conftest import ROOT, SMALL

PROFILE = ROOT / "profiles/slurm/profile.v9+.yaml"
MOST_JOBS = 12
ON_A_GPU = {"record_exits", "measure_cost", "evaluate_policy"}


@pytest.fixture
def plan(project, tmp_path):
    """What the profile would hand in, by the text of a dry run; the executor itself is left out."""
    profile = yaml.safe_load(PROFILE.read_text())
    del profile["executor"], profile["jobs"]
    folder = tmp_path / "without_executor"
    folder.mkdir()
    (folder / "config.v9+.yaml").write_text(yaml.safe_dump(profile))

    def planned(*arguments: str) -> str:
        done = project.run("-n", "--cores", "4", "--profile", str(folder), *arguments, check=True)
        return done.stdout + done.stderr

    planned.project = project
    return planned


def test_the_published_experiment_is_at_most_twelve_jobs(plan):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    plan.project.configure(**config | {"run": "published"})
    shown = plan()
    alone = [name for name in re.findall(r"^rule (\w+):", shown, re.MULTILINE) if name != "all"]
    groups = re.findall(r"^\[.*\] Group job (\w+)", shown, re.MULTILINE)
    assert {"evaluate_policy", "measure_cost", "record_exits"} <= set(alone)
    assert {"network", "choice", "results"} <= set(groups)
    assert len(alone) + len(groups) <= MOST_JOBS


def test_the_profile_names_only_existing_rules(plan):
    profile = yaml.safe_load(PROFILE.read_text())
    rules = {
        name
        for file in (ROOT / "rules").glob("*.smk")
        for name in re.findall(
            r"^(?:rule|use rule \w+ as) (\w+)(?: with)?:", file.read_text(), re.MULTILINE
        )
    }
    assert {*profile["set-resources"], *profile["groups"]} <= rules


def test_results_are_made_in_turn_so_that_their_group_asks_for_one_processor():
    """A group asks for a processor for each job that may run beside others; small nodes refuse."""
    profile = yaml.safe_load(PROFILE.read_text())
    together = [rule for rule, group in profile["groups"].items() if group == "results"]
    turns = [profile["set-resources"].get(rule, {}).get("turn") for rule in together]
    assert dict(zip(together, turns, strict=True)) == dict.fromkeys(together, 1)
    assert profile["resources"]["turn"] == 1
    assert profile["set-resource-scopes"]["turn"] == "local"


@pytest.mark.parametrize(("device", "expected"), [("cpu", set()), ("cuda", ON_A_GPU)])
def test_a_gpu_is_requested_if_the_experiment_uses_cuda(plan, device, expected):
    small = SMALL | {"inference": {"device": device}}
    plan.project.configure(run="small", experiments={"small": small})
    assert {name for name, asked in resources(plan()).items() if asked.get("gpu")} == expected


def test_memory_and_time_grow_with_each_attempt(plan):
    first, third = resources(plan()), resources(plan("--attempt", "3"))
    for rule, asked in first.items():
        for resource in ("mem_mb", "runtime"):
            assert int(third[rule][resource]) == 3 * int(asked[resource]), (rule, resource)


def resources(shown: str) -> dict[str, dict[str, str]]:
    """What each rule asks for."""
    found = re.findall(r"rule (\w+):\n(?:.+\n)*? +resources: (.*)", shown)
    return {rule: dict(re.findall(r"(\w+)=([^,]+)", asked)) for rule, asked in found}
