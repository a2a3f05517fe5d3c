"""Damage to any file that a step reads is found before the file is used.

For every rule, every artifact among its inputs is broken in every way of :mod:`damage`, and the
script is run. It must stop with one line that names the file and the remedy, and change nothing.
Damage that does not change the content, such as in a blank, is recognised by reading.
"""

import re
import shutil
from functools import partial
from pathlib import Path

import pytest
from damage import broken, content, misplaced
from jobs import planned_jobs

from conftest import EXTRAS, ROOT
from early_exit.errors import InputError

pytestmark = pytest.mark.thorough

# Beside those of `all`: what they read must be found damaged as well.
TARGETS = ("all", *EXTRAS)
# Not made here, or not by the experiment `small`.
NOT_THERE = {
    *("record_shard", "join_shards", "sweep_shard", "import_network"),
    *("describe_records", "import_records", "import_costs", "simulate_policy"),
    "make_explorer_of_records",
    *("reproduce_published", "draw_reproduction", "gather_replicates", "fit_criteria"),
    # Reads a file only where another workflow's rule makes the data.
    "prepare_data",
}
# Steps with a single input accept one of another experiment; the next step that reads both inputs
# refuses it.
ALONE = {
    *(
        "draw_methods",
        "draw_attainable",
        "draw_learning_curve",
        "draw_reliability",
        "fit_temperatures",
    ),
    *("draw_baselines", "draw_drift", "draw_runtimes", "draw_scalability", "draw_study"),
    "show_table",
}
OUTCOMES = {
    "found": "damaged artifacts found",
    "unchanged": "damaged artifacts that read the same",
    "left to the next": "artifacts of another experiment left to the next step",
}
REMEDY = re.compile(r"delete|run again|fetch|set |use |give ")


def rules_that_read() -> list[str]:
    found = {f"draw_{figure}" for figure in figures()}
    for file in sorted((ROOT / "rules").glob("*.smk")):
        text = file.read_text()
        found |= set(re.findall(r"^use rule \w+ as (\w+) with:", text, re.MULTILINE))
        for rule in re.split(r"^rule ", text, flags=re.MULTILINE)[1:]:
            if "script:" in rule and "input:" in rule:
                found.add(rule.split(":")[0])
    return sorted(found - NOT_THERE - {"draw_figure"})


def figures() -> set[str]:
    modules = {path.stem for path in (ROOT / "scripts/early_exit/figures").glob("*.py")}
    return modules - {"__init__", "save", "style"}


@pytest.fixture(scope="module")
def jobs(extras_once):
    """One job of each rule, and of each figure."""
    return {job.name: job for job in planned_jobs(extras_once.folder, *TARGETS)}


@pytest.fixture(scope="module")
def folder(extras_once, tmp_path_factory):
    """One copy for all rules: each puts back what it breaks."""
    folder = tmp_path_factory.mktemp("damaged")
    return shutil.copytree(extras_once.folder, folder, dirs_exist_ok=True)


@pytest.fixture
def job(jobs, folder, monkeypatch, request):
    monkeypatch.chdir(folder)
    return jobs[request.param]


def artifacts(job) -> list[Path]:
    named = [value for _, value in job.input.items()] or list(job.input)
    flat = [file for value in named for file in ([value] if isinstance(value, str) else value)]
    return [Path(file) for file in flat]


def outputs(job) -> dict[Path, bytes]:
    """What the job made before, folders file by file."""
    made = [path for file in job.output for path in (Path(file), *Path(file).rglob("*"))]
    return {path: path.read_bytes() for path in made if path.is_file()}


@pytest.mark.faults
@pytest.mark.parametrize("job", rules_that_read(), indirect=True)
def test_damage_is_found_with_file_and_remedy(job, tally):
    before, wrong = outputs(job), []
    for path in artifacts(job):
        whole, right = path.read_bytes(), content(path)
        cases = [(what, partial(path.write_bytes, data)) for what, data in broken(path)]
        cases += misplaced(path)
        for what, do in cases:
            path.write_bytes(whole)
            do()
            verdict = tried(job, path, what, right)
            if verdict in OUTCOMES:
                tally[OUTCOMES[verdict]] += 1
            else:
                wrong.append(f"{path}, {what}: {verdict}")
            if outputs(job) != before:
                wrong.append(f"{path}, {what}: outputs changed")
        path.write_bytes(whole)
    assert not wrong, "\n".join(wrong)
    assert artifacts(job)


def tried(job, path: Path, what: str, right) -> str:
    """An outcome that is right, or what is wrong."""
    try:
        if content(path) == right and "other" not in what:
            return "unchanged"
    except InputError:
        pass
    if job.name in ALONE and what.startswith("of another experiment"):
        return "left to the next"
    try:
        job.run()
    except InputError as error:
        text = str(error)
        if path.name not in text or "\n" in text or not REMEDY.search(text):
            return f"the error does not name it, or the remedy: {text}"
        return "found"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "not found"
