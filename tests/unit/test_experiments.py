"""A new experiment in config.yaml: added, and nothing else changed."""

from pathlib import Path

import pytest
import yaml

from early_exit.configuration import configure
from early_exit.errors import InputError
from early_exit.experiments import chosen_template, with_experiment

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())
CONFIG = (ROOT / "config.yaml").read_text()
TEMPLATES = {path.stem: path.read_text() for path in (ROOT / "scripts/templates").iterdir()}
LITTLE = "  NAME: # a remark\n    seed: 3\n"


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_template_is_valid_and_the_rest_stays(kind):
    new = with_experiment(CONFIG, "mine", TEMPLATES[kind], SCHEMA)
    assert new.startswith(CONFIG)
    before, after = yaml.safe_load(CONFIG), yaml.safe_load(new)
    assert after["experiments"].pop("mine")
    assert after == before
    assert configure(yaml.safe_load(new), SCHEMA).experiment("mine")


@pytest.mark.parametrize(
    ("text", "new"),
    [
        (
            "run: a\nexperiments:\n  a: {}",
            "run: a\nexperiments:\n  a: {}\n\n  b: # a remark\n    seed: 3\n",
        ),
        # Deeper, and with another key behind it, whose comment stays with it.
        (
            "run: a\nexperiments: # mine\n    # one\n    a: {}\n\n# where\ndata_dir: d\n",
            "run: a\nexperiments: # mine\n    # one\n    a: {}\n\n"
            "    b: # a remark\n      seed: 3\n\n# where\ndata_dir: d\n",
        ),
    ],
)
def test_where_it_is_put(text, new):
    assert with_experiment(text, "b", LITTLE, SCHEMA) == new


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("experiments:\n  a: {}\n  b: {}\n", "b", "NAME=b: config.yaml has that experiment"),
        ("experiments:\n  a:\n  b:\n", "b", "NAME=b: config.yaml has that experiment"),
        ("experiments:\n  a: {}\n", "a b", "NAME=a b: must be letters, digits"),
        ("experiments:\n  a: {}\n", "b@3", "NAME=b@3: must be letters, digits"),
        ("experiments:\n  a: {}\n", "", "NAME=: must be letters"),
        ("experiments: {a: {}}\n", "b", "experiments must stand on a line of its own"),
        ("experiments:\n  a: {}\n  b: {\n", "c", "config.yaml: no YAML"),
        ("experiments:\n  a: {seedd: 1}\n", "c", "unknown key 'seedd'"),
        ("- a\n", "c", "config.yaml"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(text, name, message):
    with pytest.raises(InputError, match=message) as error:
        with_experiment(text.replace("experiments", "run: a\nexperiments", 1), name, LITTLE, SCHEMA)
    assert "\n" not in str(error.value)


def test_an_unknown_kind_is_named():
    assert chosen_template("folder", TEMPLATES) == TEMPLATES["folder"]
    with pytest.raises(InputError, match=r"KIND=foldr: unknown; did you mean folder\?"):
        chosen_template("foldr", TEMPLATES)
    with pytest.raises(InputError, match="known: cifar10, folder, records"):
        chosen_template("zzz", TEMPLATES)
