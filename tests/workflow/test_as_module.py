"""The workflow as a module of somebody else's, from a folder or from git; and what others make."""

import json
import re
import shutil
import subprocess

import pandas as pd
import pytest
import yaml
from test_external_records import SETTINGS

from conftest import ROOT, SMALL, Project, copy_of_project
from elsewhere import write_logits

pytestmark = pytest.mark.thorough

MODULE = """
configfile: "cfg.yaml"


module early_exit:
    snakefile: {source}
    config: config["ee"]
{more}

use rule * from early_exit as ee_*
"""


def parent(folder, source, config, more="", rules=""):
    """A workflow that has this one as a module, with that part of its configuration."""
    folder.mkdir(parents=True)
    (folder / "Snakefile").write_text(MODULE.format(source=source, more=more) + rules)
    (folder / "cfg.yaml").write_text(yaml.safe_dump({"ee": config, "other": 1}))
    # Ours, which says when something is out of date.
    shutil.copytree(ROOT / "profiles/default", folder / "profiles/default")
    return Project(folder)


SMALL_ALONE = {"run": "small", "experiments": {"small": SMALL}}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return copy_of_project(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def used(ours, tmp_path_factory):
    """A finished run of a workflow that has this one as a module, with a prefix."""
    folder = tmp_path_factory.mktemp("parent") / "its own"
    project = parent(folder, f'"{ours.folder}/Snakefile"', SMALL_ALONE, '    prefix: "sub"')
    shown = project.run("--cores", "2", check=True).stderr
    (folder / "shown").write_text(shown)
    return project


def test_it_runs_as_a_module_with_a_prefix(used):
    assert (used.folder / "sub/results/small/figures/frontier.svg").is_file()
    assert not (used.folder / "results").exists()
    assert used.planned() == {}


def test_a_module_prints_its_headline(used):
    shown = (used.folder / "shown").read_text().splitlines()
    line = next(line for line in shown if line.startswith("small: "))
    summary = json.loads((used.folder / "sub/results/small/summary.json").read_text())
    assert line.startswith(
        f"small: {summary['selected']['accuracy']:.2%} accurate (the full network: "
    )
    assert line.endswith(" See sub/results/small/")


def test_a_parent_workflow_can_request_the_headlines(used):
    file = used.folder / "Snakefile"
    before = file.read_text()
    file.write_text(before + '\nonsuccess:\n    print(*early_exit.headlines(), sep="\\n")\n')
    shown = used.run("--cores", "1", "-R", "ee_measure_frontier", check=True)
    file.write_text(before)
    assert "small: " in shown.stdout


def test_the_report_of_a_module_states_its_numbers(used):
    used.run("--report", "report.html", check=True)
    text = (used.folder / "report.html").read_text()
    stated = (used.folder / "sub/results/small/figures/frontier.txt").read_text().split(". ")
    assert any(re.search(r"full network is \d", sentence) for sentence in stated)
    assert all(sentence.strip() in text for sentence in stated)


def test_a_prefix_goes_before_what_a_rule_makes_that_takes_over_another(ours, tmp_path):
    """`use rule ... as ... with` sets outputs of its own."""
    config = {"run": "small", "experiments": {"small": SMALL | {"exits": {"shards": 2}}}}
    project = parent(tmp_path / "p", f'"{ours.folder}/Snakefile"', config, '    prefix: "sub"')
    shown = project.run("-n", "ee_baselines", check=True)
    text = shown.stdout + shown.stderr
    for rule in ("ee_train_baseline", "ee_record_shard"):
        made = re.findall(rf"^rule {rule}:\n(?:.+\n)*? +output: (.*)", text, re.MULTILINE)
        assert len(made) > 1, rule
        assert all(path.startswith("sub/results/") for one in made for path in one.split(", "))


def test_rules_of_its_own_see_its_configuration_and_ours_does_not(ours, tmp_path):
    """`results` of the other workflow may be a file; --config changes the other's configuration."""
    project = parent(tmp_path / "p", f'"{ours.folder}/Snakefile"', SMALL_ALONE, '    prefix: "sub"')
    (project.folder / "results").touch()
    assert project.planned("ee_select")["ee_select_policy"] == 1
    changed = project.run("-n", "--config", "ee={run: small@3}", "--", "ee_all")
    assert "ee_train_network" in changed.stdout
    wrong = project.run("-n", "--config", "ee={run: smal}")
    assert "error: config: unknown experiment 'smal'; did you mean 'small'?" in (
        wrong.stdout + wrong.stderr
    ).replace("run: ", "")


@pytest.fixture
def hosted(ours, tmp_path, monkeypatch):
    """The project as github.com has it; git is told to look for that host in a folder."""
    host, work = tmp_path / "hosts", tmp_path / "work"
    shutil.copytree(ours.folder, work, ignore=shutil.ignore_patterns(".snakemake", "results"))
    own = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], [*own, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=work, check=True)
    subprocess.run(["git", "tag", "v1"], cwd=work, check=True)
    clone = ["git", "clone", "-q", "--bare", str(work), str(host / "someone/net")]
    subprocess.run(clone, check=True)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{host}/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return work


@pytest.mark.parametrize("reference", ['tag="v1"', 'branch="main"'])
def test_it_runs_from_a_git_source(hosted, tmp_path, reference):
    source = f'github("someone/net", path="workflow/Snakefile", {reference})'
    project = parent(tmp_path / "parent", source, SMALL_ALONE)
    project.run("--cores", "2", "ee_data", check=True)
    assert (project.folder / "results/small/data/manifest.json").is_file()
    assert project.planned("ee_data") == {}


def test_an_unsupported_source_names_those_that_work(hosted, tmp_path):
    """From git+file: Snakemake does not find what lies below a repository's own folder."""
    shutil.copy(hosted / "Snakefile", hosted / "rules/Snakefile")
    project = parent(tmp_path / "parent", f'"git+file://{hosted}/rules/configuration.smk@main"', {})
    finished = project.run("-n")
    assert "or from github() or gitlab(); clone it" in finished.stdout + finished.stderr


def test_the_catalog_finds_its_files():
    """https://snakemake.github.io/snakemake-workflow-catalog, "standardized usage"."""
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["conda"] is True
    assert usage["mandatory-flags"]["flags"] == []
    assert (ROOT / "workflow/Snakefile").is_file()
    assert (ROOT / "config/README.md").is_file()
    # snakedeploy copies this folder, and its Snakefile reads this file.
    assert (ROOT / "config/config.yaml").read_text() == (ROOT / "config.yaml").read_text()
    assert "snakemake" in (ROOT / "README.md").read_text().lower()


def test_the_small_run_of_the_catalog(ours, tmp_path):
    shutil.copytree(ROOT / ".test", tmp_path / "test", ignore=shutil.ignore_patterns("results"))
    planned = ours.planned("--directory", str(tmp_path / "test"), "-s", "workflow/Snakefile")
    assert planned["calibrate_thresholds"] == 2


MAKES = """
rule make_records:
    output: "made/calibration.npz", "made/test.npz", "made/costs.csv"
    shell: "cp -r ready/* made/"
"""


def records(folder, **own):
    paths = {"calibration": "calibration.npz", "test": "test.npz", "costs": "costs.csv"}
    found = {key: f"{folder}/{name}" for key, name in paths.items()}
    return {"run": "mine", "experiments": {"mine": SETTINGS | {"records": found} | own}}


@pytest.mark.parametrize("more", ["", '    prefix: "sub"'])
def test_records_that_a_rule_of_the_other_workflow_makes(ours, tmp_path, more):
    source = f'"{ours.folder}/Snakefile"'
    project = parent(tmp_path / "p", source, records("made"), more, MAKES)
    ready = project.folder / "ready"
    ready.mkdir()
    for path in write_logits(project.folder).values():
        (project.folder / path).rename(ready / path)
    assert project.planned("ee_data") == {"make_records": 1, "ee_describe_records": 1, "ee_data": 1}
    project.run("--cores", "2", "ee_summarise", "ee_reliability", check=True)
    place = "sub/results" if more else "results"
    assert (project.folder / place / "mine/summary.json").is_file()
    # Now that they are there, they are seen to hold logits.
    assert "ee_measure_reliability" in project.planned("ee_reliability")
    assert project.planned("ee_summarise") == {}


def test_missing_records_are_named(ours, tmp_path):
    project = parent(tmp_path / "p", f'"{ours.folder}/Snakefile"', records("made"))
    finished = project.run("-n")
    assert (
        "error: config: experiments.mine.records.calibration: there is no file"
        " made/calibration.npz (paths start from p/, where snakemake runs)"
    ) in finished.stdout + finished.stderr


def test_a_checkpoint_of_the_workflow_itself(ours, tmp_path):
    """`checkpoints/` of a configuration as it is shipped."""
    shipped = ours.folder / "checkpoints/branchynet-digits.safetensors"
    shipped.parent.mkdir(exist_ok=True)
    shipped.touch()
    network = {"name": "branchynet", "checkpoint": "checkpoints/branchynet-digits.safetensors"}
    config = {"run": "small", "experiments": {"small": SMALL | {"network": network}}}
    more = '    prefix: "sub"'
    project = parent(tmp_path / "p", f'"{ours.folder}/Snakefile"', config, more)
    shown = project.run("-n", "ee_network", check=True)
    assert f"checkpoint: {shipped}" in shown.stdout or str(shipped) in shown.stdout + shown.stderr


def test_a_data_set_that_a_rule_makes(ours, tmp_path):
    makes = '\nrule make_images:\n    output: "made/images.npz"\n    shell: "touch {output}"\n'
    dataset = {"name": "npz", "path": "made/images.npz"}
    config = {"run": "small", "experiments": {"small": SMALL | {"dataset": dataset}}}
    project = parent(tmp_path / "p", f'"{ours.folder}/Snakefile"', config, "", makes)
    assert project.planned("ee_data") == {"make_images": 1, "ee_prepare_data": 1, "ee_data": 1}


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A storage; results are kept there."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests/plugins"))
    folder = tmp_path / "bucket"
    folder.mkdir()
    return folder


def test_results_in_a_storage(bucket, tmp_path):
    """Records are where snakemake runs, and not looked for in the storage; the headline is told."""
    project = copy_of_project(tmp_path)
    given = {"records": write_logits(project.folder)}
    project.configure(run="mine", experiments={"mine": SETTINGS | given})
    storage = ["--default-storage-provider", "folder", "--default-storage-prefix", str(bucket)]
    done = project.run("--cores", "2", *storage, "--", "summarise", check=True)
    assert (bucket / "results/mine/summary.json").is_file()
    assert not (project.folder / "results").exists()
    assert not (bucket / "calibration.npz").exists()
    told = [line for line in done.stderr.splitlines() if line.startswith("mine: ")]
    assert told[0].endswith(f"See {bucket}/results/mine/")
    assert project.planned(*storage, "--", "summarise") == {}


def test_records_in_a_storage(bucket, tmp_path):
    project = copy_of_project(tmp_path)
    given = write_logits(project.folder)
    for path in given.values():
        (project.folder / path).rename(bucket / path)
    project.configure(run="mine", experiments={"mine": SETTINGS | {"records": given}})
    storage = ["--default-storage-provider", "folder", "--default-storage-prefix", str(bucket)]
    project.run("--cores", "2", *storage, "--", "data", check=True)
    assert (bucket / "results/mine/data/manifest.json").is_file()


def test_how_many_cores_there_are_changes_no_byte(tmp_path):
    found = []
    for cores in ("1", "2"):
        folder = tmp_path / cores
        folder.mkdir()
        project = copy_of_project(folder)
        project.run("--cores", cores, "exits", check=True)
        names = ("network/network.safetensors", "exits/calibration.parquet", "exits/test.parquet")
        found.append([project.path(name).read_bytes() for name in names])
    assert found[0] == found[1]


def test_numbers_within_a_map_of_the_command_line(project):
    targets = (
        "experiments={mine: {calibration: {methods: [uniform], targets: [0.65, {drop: 1e-2}]}}}"
    )
    planned = project.planned("--config", targets, "run=mine", "--", "calibrate")
    assert planned["calibrate_thresholds"] == 1
    finished = project.run("-n", "--config", "experiments={mine: {training: {epochs: many}}}")
    said = "error: config: experiments.mine.training.epochs: 'many', but must be a whole number"
    assert said in finished.stdout + finished.stderr


def test_one_budget_out_of_reach_leaves_the_experiment(tmp_path):
    project = copy_of_project(tmp_path)
    given = {"records": write_logits(project.folder)}
    targets = [{"macs_share": 0.01}, {"macs_share": 0.5}]
    calibration = {"calibration": {"methods": ["uniform", "coordinate"], "targets": targets}}
    own = SETTINGS | given | calibration
    project.configure(run="mine", experiments={"mine": own})
    done = project.run("--cores", "2", check=True)
    assert "mine: " in done.stdout
    for name in ("calibration/uniform", "evaluation/operating_points"):
        table = pd.read_csv(project.folder / f"results/mine/{name}.csv", comment="#")
        unreached = table[table.infeasible.notna()]
        assert set(unreached.target) == {0.01}
        assert unreached.accuracy.isna().all()
    caption = project.folder / "results/mine/figures/operating_points.txt"
    assert "Not shown: 2 budgets that no policy meets" in caption.read_text()
    own["calibration"]["targets"] = targets[:1]
    project.configure(run="mine", experiments={"mine": own})
    failed = project.run("--cores", "2")
    line = "error: calibration.targets: no policy takes at most 1 % of MACs"
    assert (failed.stdout + failed.stderr).count(line) == 1


@pytest.mark.parametrize("path", ["calibration/nonsense.csv", "study/nonsense_plain.csv"])
def test_a_file_of_an_unknown_method(project, path):
    finished = project.run("-n", f"results/small/{path}")
    shown = finished.stdout + finished.stderr
    assert f"No rule to produce results/small/{path}" in shown
    assert "Traceback" not in shown
