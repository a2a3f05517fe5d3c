"""What targets ask for, and what is made on the way to them, as Snakemake plans it.

``python asked.py FOLDER FILE TARGET ...`` writes it to FILE; :func:`asked_and_made` does so and
reads it. All targets are planned by one process, which branches for each: Snakemake leaves its
settings behind, and to start it takes longer than to plan.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def asked_and_made(folder: Path, *targets: str) -> dict[str, tuple[set[str], set[str]]]:
    """By target the files that it asks for, and those that its jobs make and that are kept."""
    file = folder / ".asked"
    command = [sys.executable, __file__, str(folder), str(file), *targets]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, text=True, capture_output=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(line) for line in file.read_text().splitlines()]
    file.unlink()
    assert len(found) == len(targets), done.stdout + done.stderr
    return {target: (set(asked), set(made)) for target, asked, made in found}


def _write(folder: Path, file: Path, targets: list[str]) -> None:
    # Imported before the first branch, and so by all.
    import snakemake.api  # noqa: F401

    for target in targets:
        if not os.fork():
            with open(file, "a", encoding="utf-8") as lines:
                print(json.dumps([target, *_plan(folder, target)]), file=lines)
            os._exit(0)
        os.wait()


def _plan(folder: Path, target: str) -> tuple[list[str], list[str]]:
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import DAGSettings, OutputSettings, Quietness, ResourceSettings

    with SnakemakeApi(OutputSettings(dryrun=True, quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            ResourceSettings(cores=2), snakefile=folder / "Snakefile", workdir=folder
        )
        dag = workflow.dag(DAGSettings(targets={target}, forceall=True))
        dag.execute_workflow(executor="dryrun")
        jobs = list(workflow._workflow.dag.jobs)
    (asked,) = (list(map(str, job.input)) for job in jobs if job.rule.name == target)
    made = [str(file) for job in jobs for file in job.output if not file.flags.get("temp")]
    return asked, made


if __name__ == "__main__":
    _write(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
