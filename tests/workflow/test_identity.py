"""Inputs of two experiments with different networks are never used together.

The second experiment is a real one: the same data, another network, every step really run. In
every rule, each input is taken from it in turn, and then all but that one.
"""

import shutil
from pathlib import Path

import pytest
import torch
from jobs import planned_jobs
from test_damage import artifacts

from early_exit.errors import InputError
from early_exit.networks.checkpoint import load_network, save_network

# In the order of the workflow; the first is not trained but made here.
REMADE = (
    *("record_exits", "measure_cost", "fit_temperatures", "sweep_thresholds"),
    *("calibrate_thresholds", "find_frontier", "find_references", "join_frontier"),
    *("select_policy", "evaluate_policy"),
    *("simulate_policies", "write_summary", "measure_reliability", "measure_frontier"),
)
NETWORK = "results/small/network/network.safetensors"

pytestmark = [pytest.mark.faults, pytest.mark.thorough]


@pytest.fixture(scope="module")
def two(finished_once, tmp_path_factory):
    """The jobs, a folder with the first experiment, and one with the second."""
    jobs = planned_jobs(
        finished_once.folder, "all", "ship", "speed", "latency", "drift", "study", "export"
    )
    one, other = (tmp_path_factory.mktemp(name) for name in ("one", "other"))
    for folder in (one, other):
        shutil.copytree(finished_once.folder, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(other)
        network, provenance = load_network(NETWORK)
        torch.manual_seed(1)
        for parameter in network.parameters():
            parameter.data += 0.01 * torch.randn_like(parameter)
        save_network(network, NETWORK, provenance | {"seed": 1})
        for rule in REMADE:
            for job in jobs:
                if job.rule == rule:
                    job.run()
    return jobs, one, other


def test_inputs_that_do_not_belong_together_are_refused(two, monkeypatch, tally):
    jobs, one, other = two
    monkeypatch.chdir(one)
    tried, wrong = 0, []
    for job in jobs:
        files = [path for path in artifacts(job) if path.exists()]
        # What is the same in both belongs to both.
        differing = [p for p in files if p.read_bytes() != (other / p).read_bytes()]
        if len(files) < len(artifacts(job)) or len(differing) < 2:
            continue
        before = {file: Path(file).read_bytes() for file in job.output if Path(file).exists()}
        for path in differing:
            for swapped in ([path], [p for p in differing if p != path]):
                verdict = refused(job, swapped, files, other)
                wrong += [f"{job.rule}, {', '.join(map(str, swapped))}: {verdict}"] * bool(verdict)
                tried += 1
        assert {file: Path(file).read_bytes() for file in before} == before
    assert not wrong, "\n".join(wrong)
    assert tried > 100
    tally["mixed experiments refused"] += tried


def refused(job, swapped, files, other) -> str:
    """Nothing if the job stops, with one of its inputs named."""
    own = {path: path.read_bytes() for path in swapped}
    try:
        for path in swapped:
            shutil.copyfile(other / path, path)
        job.run()
    except InputError as error:
        named = any(path.name in str(error) for path in files)
        return "" if named and "\n" not in str(error) else f"not named: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        for path, content in own.items():
            path.write_bytes(content)
    return "used together"
