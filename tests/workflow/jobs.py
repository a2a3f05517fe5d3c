"""A project's jobs as Snakemake plans them, so that each can be run on its own.

``python jobs.py FOLDER FILE`` writes them to FILE; :func:`planned_jobs` does so and reads them.
They are planned in a process of their own: Snakemake leaves its settings behind.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from snakemake.iocontainers import InputFiles, OutputFiles, Params, Wildcards


@dataclass
class Job:
    """A stand-in for the ``snakemake`` object of a script, with the script's name."""

    rule: str
    script: str
    input: InputFiles
    output: OutputFiles
    params: Params
    wildcards: Wildcards
    threads: int

    @property
    def name(self) -> str:
        """The rule, or of ``draw_figure`` the figure: ``draw_sweep``."""
        figure = self.wildcards.get("figure")
        return f"draw_{figure}" if figure else self.rule

    def run(self) -> None:
        """Call the script's ``main`` here; the working directory must be the project's."""
        import_module(self.script).main(self)


def planned_jobs(folder: Path, *targets: str) -> list[Job]:
    """Every job of a project, or those that lead to ``targets``, done or not."""
    file = folder / ".jobs"
    command = [sys.executable, __file__, str(folder), str(file), *targets]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, text=True, capture_output=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    planned = pickle.loads(file.read_bytes())  # noqa: S301, written a moment ago
    file.unlink()
    return [
        Job(rule, script, *(kind(fromdict=named) for kind, named in given), threads)
        for rule, script, given, threads in planned
    ]


def _write(folder: Path, file: Path, targets: list[str]) -> None:
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import DAGSettings, OutputSettings, Quietness, ResourceSettings

    quiet = OutputSettings(dryrun=True, quiet={Quietness.ALL})
    with SnakemakeApi(quiet) as api:
        workflow = api.workflow(
            ResourceSettings(cores=2), snakefile=folder / "Snakefile", workdir=folder
        )
        dag = workflow.dag(DAGSettings(targets=set(targets), forceall=True))
        dag.execute_workflow(executor="dryrun")
        jobs = [job for job in workflow._workflow.dag.jobs if job.rule.script]
    planned = [
        (
            job.rule.name,
            Path(job.rule.script).stem,
            [
                (kind, {name: _plain(value) for name, value in given.items()} or _numbered(given))
                for kind, given in (
                    (InputFiles, job.input),
                    (OutputFiles, job.output),
                    (Params, job.params),
                    (Wildcards, job.wildcards),
                )
            ],
            job.threads,
        )
        for job in sorted(jobs, key=lambda job: (job.rule.name, str(job.output)))
    ]
    file.write_bytes(pickle.dumps(planned))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict) or not hasattr(value, "__iter__"):
        return value
    return [_plain(each) for each in value]


def _numbered(given: Any) -> dict[str, Any]:
    return {f"_{number}": _plain(each) for number, each in enumerate(given)}


if __name__ == "__main__":
    _write(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
