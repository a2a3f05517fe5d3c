"""What the rules share, function by function: taken out of the file, which Snakemake runs whole."""

import ast
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from early_exit.errors import InputError
from early_exit.files import read_json, write_json

RULES = Path(__file__).parents[2] / "rules"
WHOLE = re.DOTALL | re.MULTILINE


def functions(*names, **given):
    """Functions of rules/common.smk, with what they need of its globals."""
    text = (RULES / "common.smk").read_text()
    for name in names:
        (own,) = re.findall(rf"^def {name}\(.*?(?=^\S)", text, WHOLE)
        exec(compile(ast.parse(own), "common.smk", "exec"), given)
    return [given[name] for name in names]


def rule(file, name):
    """The text of a rule."""
    (text,) = re.findall(rf"^rule {name}:\n(.*?)(?=^\S|\Z)", (RULES / file).read_text(), WHOLE)
    return text


def test_shards_are_made_again_where_their_bounds_change():
    """The setting is named by itself: what depends on `input` is not compared."""
    assert 'batch_size=setting("inference/batch_size"),' in rule("exits.smk", "record_shard")


def test_all_cores_of_a_cluster_are_not_those_of_the_node_that_plans():
    for file in RULES.glob("*.smk"):
        assert "threads: all_cores()" not in file.read_text(), file
    assert 'threads: alone("inference/threads")' in rule("scaling.smk", "measure_scaling")


SUMMARY = {
    "selected": {"accuracy": 0.9, "macs": 1e6, "speedup": 2.0},
    "static": {"accuracy": 0.95, "macs": 2e6},
}


def test_headlines_are_of_what_is_there_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["old", "new", "damaged", "none"]
    for name in names[:3]:
        write_json(Path("results", name, "selection/policy.json"), {})
        write_json(Path("results", name, "summary.json"), SUMMARY)
        # Made from the same policy, in a job that may end later.
        points = Path("results", name, "evaluation/operating_points.csv")
        points.parent.mkdir()
        points.touch()
        os.utime(points, (4e9, 4e9))
    os.utime("results/old/summary.json", (1e9, 1e9))
    Path("results/damaged/summary.json").write_text('{"selected"')
    _, headlines = functions(
        "outdated",
        "headlines",
        CONFIGURATION=SimpleNamespace(run=names),
        Path=Path,
        InputError=InputError,
        read_json=read_json,
    )
    new, damaged = headlines()
    assert new.startswith("new: 90.00% accurate at 1.00 M MACs, 2.00 times as fast")
    assert damaged.startswith("damaged: results/damaged/summary.json: no readable JSON")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (["digits@0", "digits@1"], "digits@0 and digits@1 would both go to checkpoints/Net-digits"),
        (["digits@0", "other"], None),
        (["digits@0"], None),
    ],
)
def test_two_networks_are_not_shipped_to_one_place(run, message):
    def experiment(name):
        dataset = "cifar10" if name == "other" else "digits"
        return {"network": {"name": "own/net.py:Net"}, "dataset": {"name": dataset}}

    _, shipped = functions(
        "stem_of",
        "shipped",
        CONFIGURATION=SimpleNamespace(run=run, experiment=experiment),
        TRAINED=".*",
        each=lambda pattern: [pattern],
        re=re,
        refuse_records=lambda stage: None,
        sys=SimpleNamespace(exit=refuse),
    )
    if message is None:
        assert shipped(None) == ["results/{experiment}/network/shipped.json"]
        return
    with pytest.raises(InputError, match=f"^error: ship: {message}") as error:
        shipped(None)
    assert "\n" not in str(error.value)


def refuse(message):
    raise InputError(message)


def test_what_cannot_be_read_is_told_while_planning(tmp_path):
    """What is at `dataset.path`: one line, and no traceback."""

    def checksum(place, notes):
        raise InputError(f"{place}/a.png: a link to nothing")

    (held,) = functions(
        "held",
        experiment=lambda wildcards: {"dataset": {"path": str(tmp_path)}},
        checksum=checksum,
        crc32=lambda text: 0,
        InputError=InputError,
        Path=Path,
        sys=SimpleNamespace(exit=refuse),
    )
    with pytest.raises(InputError, match=r"^error: config: experiments\.own\.dataset\.path: /"):
        held(SimpleNamespace(experiment="own"))
