"""The explorer's page as a file: whole, offline, small, the same each time, and what it offers."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

import early_exit as ee
from api_runs import sample, write_run
from early_exit.cli.experiment import read_experiment
from early_exit.cli.main import main
from early_exit.errors import InputError
from early_exit.explorer import page as module
from early_exit.explorer.page import STYLES, page
from early_exit.explorer.policies import offered
from early_exit.explorer.policy_file import GAP
from early_exit.explorer.thumbnails import MOST, chosen_rows, sprite
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.measure_names import LABELS
from early_exit.policy.policy import Policy
from early_exit.records.uncertainty.measures import GIVEN, NAMES
from explored import NASTY, some_content, some_records

VENDORED = Path(module.__file__).parent / "vendor"


def test_the_chart_library_is_what_it_says():
    """Its files are those of the release, whose checksums were noted when they were taken."""
    rows = re.findall(r"^\| `(.+?)` \| `(\w{64})` \|", (VENDORED / "README.md").read_text(), re.M)
    found = {name: hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() for name, _ in rows}
    assert found == dict(rows)
    assert {path.name for path in VENDORED.iterdir()} == {*found, "README.md"}
    assert "(v1.6.32)" in (VENDORED / "uPlot.iife.min.js").read_text()[:100]
    assert "MIT" in (VENDORED / "uPlot.LICENSE").read_text()[:40]


def test_the_page_is_one_small_file_without_addresses():
    text = page(some_content(10_000, 10))
    assert len(text) < 3_000_000
    assert text.count("<script") == text.count("</script>") == len(module.SCRIPTS) + 1
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", text)
    assert "default-src 'none'" in text


def test_equal_contents_give_equal_pages():
    assert page(some_content(80)) == page(some_content(80))


def test_names_are_escaped_wherever_they_are_written():
    text = page(some_content(80))
    for name in NASTY[:2]:
        assert name not in text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1]
    assert not {*"<>&\u2028"} & {*data}
    assert tuple(json.loads(data)["class_names"]) == NASTY


def test_scripts_and_styles_end_nothing_early():
    for name in STYLES:
        assert "</style" not in module._asset(name)
    for name in module.SCRIPTS:
        assert "</script" not in module._asset(name)
        assert "<!--" not in module._asset(name)


def test_every_measure_has_a_label():
    assert {*NAMES, *GIVEN} == {*LABELS}


def test_equal_policies_are_offered_once_and_the_chosen_first():
    content = some_content(80)
    found = content.policies
    assert [own["chosen"] for own in found] == [True, *[False] * (len(found) - 1)]
    keys = [(own["measure"], str(own["thresholds"])) for own in found]
    assert len(set(keys)) == len(keys)
    others = [ExitCriterion("energy")]
    assert offered([], others, None) == []


def test_a_gap_is_in_the_place_of_each_number_that_the_page_knows():
    text = some_content(80).policy_text
    assert re.findall(f"{GAP}(.+?){GAP}", text) == [
        *("calibration", "macs", "ms", "thresholds", "policy"),
    ]


def test_thumbnails_are_easy_and_hard_samples():
    records = some_records("calibration", 2000, 4)
    rows = chosen_rows(records)
    assert len(rows) == MOST
    assert (np.diff(rows) > 0).all()
    kinds = np.bincount(records.correct[rows].sum(axis=1), minlength=5)
    assert kinds.max() - kinds.min() <= 1
    assert chosen_rows(records.select(slice(0, 10))).tolist() == list(range(10))


@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (13, 1, 28, 28), (3, 4, 200, 100)])
def test_images_of_any_shape_become_one_picture(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = sprite(images)
    assert found["data"].startswith("data:image/jpeg;base64,")
    assert max(found["width"], found["height"]) <= 48


def test_a_run_writes_its_explorer(tmp_path):
    logits, labels = sample(200, 0)
    run = ee.from_logits(logits, labels, macs=[2e6, 6e6, 15e6], class_names=["a", "b", "c", "<d>"])
    path = run.explore(tmp_path / "mine.html")
    data = data_of(path)
    assert (data["exits"], data["class_names"][3]) == (3, "<d>")
    assert list(data["splits"]) == ["calibration"]
    assert not data["checked_file"]
    assert {"uniform", "coordinate"} <= {own["name"].split(",")[0] for own in data["policies"]}


def test_the_run_of_a_folder_knows_its_chosen_policy(tmp_path):
    run = ee.load(write_run(tmp_path / "small"))
    # The test's folder has no complete policy.json.
    run._source.policy_file = lambda records, criterion: ("", "")
    data = data_of(run.explore(tmp_path / "page.html"))
    assert [own["chosen"] for own in data["policies"]][:2] == [True, False]
    assert sorted(data["splits"]) == ["calibration", "test"]


def data_of(path) -> dict:
    text = Path(path).read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


def test_the_command_explores_records(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logits, labels = sample(200, 0)
    np.savez("mine.npz", logits=logits, labels=labels)
    Path("costs.csv").write_text("exit,macs,ms\n1,2e6,1\n2,6e6,2\n3,15e6,4\n")
    assert main(["explore", "mine.npz", "--costs", "costs.csv"]) == 0
    assert "written: explorer.html" in capsys.readouterr().out
    data = data_of("explorer.html")
    assert data["name"] == "mine"
    assert [own["name"] for own in data["measures"]] == ["margin", "max_probability", "entropy"]
    Path("costs.csv").write_text("exit,macs\n1,2e6\n2,6e6\n")
    assert main(["explore", "mine.npz", "--costs", "costs.csv"]) == 2
    assert "mine.npz: 3 exits, but costs.csv has 2" in capsys.readouterr().err
    assert main(["explore", "mine.npz", "--costs", "none.csv"]) == 2


def test_the_command_explores_uncertainties(tmp_path):
    unsure = np.random.default_rng(0).normal(size=(60, 2))
    np.savez(tmp_path / "u.npz", uncertainty=unsure, correct=unsure < 0)
    (tmp_path / "costs.csv").write_text("exit,relative\n1,0.3\n2,1\n")
    arguments = [str(tmp_path / "u.npz"), "--costs", str(tmp_path / "costs.csv")]
    assert main(["explore", *arguments, "--output", str(tmp_path / "page.html")]) == 0
    data = data_of(tmp_path / "page.html")
    assert (data["classes"], data["costs"]["unit"]) == (0, "relative")
    assert [own["name"] for own in data["measures"]] == ["external"]


def test_entropies_alone_give_a_page_of_entropies(tmp_path):
    import pandas as pd

    records = some_records("calibration", 60, 2)
    columns = {"label": records.label}
    for k in range(2):
        columns |= {f"entropy_{k + 1}": records.uncertainty[:, k]}
        columns |= {f"prediction_{k + 1}": records.prediction[:, k]}
    pd.DataFrame(columns).to_parquet(tmp_path / "e.parquet")
    (tmp_path / "costs.csv").write_text("exit,ms\n1,0.3\n2,1\n")
    arguments = [str(tmp_path / "e.parquet"), "--costs", str(tmp_path / "costs.csv")]
    assert main(["explore", *arguments, "--output", str(tmp_path / "page.html")]) == 0
    assert [own["name"] for own in data_of(tmp_path / "page.html")["measures"]] == ["entropy"]


def test_a_policy_file_of_own_thresholds(tmp_path, capsys):
    folder = write_run(tmp_path / "small")
    own = complete(folder)
    arguments = ["policy", "--results", str(folder), "--thresholds"]
    assert main([*arguments, "0.3", "always"]) == 0
    assert "accurate on calibration at" in capsys.readouterr().out
    content = read_experiment(str(folder / "own/policy.json")).content
    assert Policy.from_json(content["policy"]).thresholds == (0.3, np.inf)
    assert content["identity"] == own["identity"]
    assert content["why"].startswith("thresholds of the user, taken as they are, on 500")
    assert main([*arguments, "0.3"]) == 2
    assert "--thresholds: 1 for 3 exits; give 2" in capsys.readouterr().err
    assert main([*arguments, "0.3", "nan"]) == 2
    assert "is not a threshold" in capsys.readouterr().err
    assert main([*arguments, "0.3", "never", "--measure", "gate"]) == 2
    assert "has no fitted parameters" in capsys.readouterr().err
    assert main([*arguments, "0.3", "never", "--measure", "sureness"]) == 2
    assert main([*arguments, "0.3", "never", "--output", "policy.txt"]) == 2
    other = tmp_path / "other/policy.json"
    assert main([*arguments, "-0.5", "0.9", "--measure", "margin", "--output", str(other)]) == 0
    assert "only from a folder in" in capsys.readouterr().out
    assert Policy.load(other) == Policy(ExitCriterion("margin"), (-0.5, 0.9))
    with pytest.raises(SystemExit):
        main([*arguments, "often", "0.3"])
    with pytest.raises(InputError, match="damaged, edited"):
        other.rename(other.with_name("renamed.json"))
        read_experiment(str(other.with_name("renamed.json")))


def complete(folder) -> dict:
    """Complete the test run's policy.json."""
    from early_exit.io.files import read_json, sha256, write_json

    file = folder / "selection/policy.json"
    costs = {"batch_size": 8, "regroup": 0, "unit": "macs"}
    content = read_json(file) | {"network": {"name": "small"}, "data": None, "cost": costs}
    content["identity"] = content["identity"] | {"costs": sha256(folder / "cost/cost.csv")}
    write_json(file, content)
    return content
