"""Functions of the rules, taken out of the files, which Snakemake only runs as a whole."""

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from early_exit.errors import InputError

RULES = Path(__file__).parents[3] / "rules"
WHOLE = re.DOTALL | re.MULTILINE


def functions(*names, **given):
    """Functions of the rules by name, with the given globals."""
    text = "\n".join(file.read_text() + "\nEND\n" for file in RULES.rglob("*.smk"))
    for name in names:
        (own,) = re.findall(rf"^def {name}\(.*?(?=^\S)", text, WHOLE)
        exec(compile(ast.parse(own), name, "exec"), given)
    return [given[name] for name in names]


def rule(file, name):
    """The text of a rule."""
    (text,) = re.findall(
        rf"^(?:rule|use rule \w+ as) {name}(?: with)?:\n(.*?)(?=^\S|\Z)",
        (RULES / file).read_text(),
        WHOLE,
    )
    return text


def test_shards_are_recorded_again_when_their_bounds_change():
    """The setting is a param of its own: params that depend on `input` are not compared."""
    assert 'batch_size=setting("inference/batch_size"),' in rule("exits.smk", "record_shard")


def test_all_cores_of_a_cluster_are_not_those_of_the_node_that_plans():
    for file in RULES.glob("*.smk"):
        assert "threads: all_cores()" not in file.read_text(), file
    assert 'threads: alone("inference/threads")' in rule("scalability.smk", "measure_scalability")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (["digits@0", "digits@1"], "digits@0 and digits@1 would both go to checkpoints/Net-digits"),
        (["digits@0", "other"], None),
        (["digits@0"], None),
    ],
)
def test_two_networks_are_not_shipped_to_one_path(run, message):
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
        refuse_records=lambda target: None,
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


def test_an_unreadable_dataset_is_reported_while_planning(tmp_path):
    """An error at `dataset.path` is one line, without a traceback."""

    def checksum(place, notes):
        raise InputError(f"{place}/a.png: a broken link")

    (dataset_checksum,) = functions(
        "dataset_checksum",
        experiment=lambda wildcards: {"dataset": {"path": str(tmp_path)}},
        made=lambda path: False,
        checksum=checksum,
        crc32=lambda text: 0,
        InputError=InputError,
        Path=Path,
        sys=SimpleNamespace(exit=refuse),
    )
    with pytest.raises(InputError, match=r"^error: config: experiments\.own\.dataset\.path: /"):
        dataset_checksum(SimpleNamespace(experiment="own"))


def test_a_data_set_s_settings_do_not_change_where_they_are_not_used():
    """Or all results that are there would be made again."""
    own = {
        "name": "digits",
        "path": None,
        "mirrors": None,
        "mean": None,
        "arguments": {},
        "test": 3,
    }
    found = {"x": own, "y": own | {"arguments": {"a": 1}}}
    (dataset,) = functions("dataset", experiment=lambda name: {"dataset": found[name]})
    assert dataset("x") == {"name": "digits", "test": 3}
    assert dataset("y") == {"name": "digits", "test": 3, "arguments": {"a": 1}}


def test_a_network_of_own_data_is_shipped_under_the_class_s_name():
    own = {"network": {"name": "own/net.py:Net"}, "dataset": {"name": "own/data.py:Data"}}
    (stem_of,) = functions("stem_of")
    assert stem_of(own) == "checkpoints/Net-Data"


def test_recipes_without_held_out_samples_are_those_of_the_shipped_networks():
    """The setting is newer than they are: named, it would make their recipes others."""
    for path in sorted((RULES.parent / "checkpoints").glob("*.json")):
        card = json.loads(path.read_text())
        own = card["training"] | {
            "device": "cpu",
            "threads": 2,
            "start_from": None,
            "teacher": None,
        }
        settings = {"training": own | {"held_out": 0}}
        (recipe,) = functions("recipe", experiment=lambda wildcards, found=settings: found)
        assert recipe(None) == card["training"], path
        settings["training"]["held_out"] = 0.1
        assert recipe(None) == card["training"] | {"held_out": 0.1}
