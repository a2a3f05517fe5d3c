"""Adding an experiment to config.yaml changes nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from early_exit.config.configuration import configure
from early_exit.config.scaffold import chosen_template, with_experiment
from early_exit.errors import InputError

ROOT = Path(__file__).parents[3]
SCHEMA = yaml.safe_load((ROOT / "scripts/early_exit/config/schema.yaml").read_text())
CONFIG = (ROOT / "config.yaml").read_text()
TEMPLATES = {
    path.stem: path.read_text()
    for path in (ROOT / "scripts/early_exit/cli/templates").glob("*.yaml")
}
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
        ("experiments:\n  a: {}\n  b: {}\n", "b", "name b: config.yaml has that experiment"),
        ("experiments:\n  a:\n  b:\n", "b", "name b: config.yaml has that experiment"),
        ("experiments:\n  a: {}\n", "a b", "name a b: must be letters, digits"),
        ("experiments:\n  a: {}\n", "b@3", "name b@3: must be letters, digits"),
        ("experiments:\n  a: {}\n", "", "name : must be letters"),
        ("experiments: {a: {}}\n", "b", "experiments must be on a line of its own"),
        ("experiments:\n  a: {}\n  b: {\n", "c", r"config.yaml: line 5: not valid YAML"),
        (
            "experiments:\n  a: &x [*x]\n",
            "c",
            "config.yaml: line 3: this anchor contains itself",
        ),
        ("experiments:\n  a: {}\n", "b\n", "name b: must be letters, digits"),
        ("experiments:\n  a: {}\n", "\x1b[31mb", "name b: must be letters, digits"),
        ("experiments:\n  a: {}\n", "b" * 300, "name b{101}: must be letters, .* 100 at most"),
        ("experiments:\n  a: {}\n", "é", "name é: must be letters, digits"),
        *(
            ("experiments:\n  a: {}\n", name, f"name {name}: YAML does not read this as a string")
            for name in ("123", "null", "yes", "No", "0x10", "2024-01-01", "1_000")
        ),
        ("experiments:\n  a: {seedd: 1}\n", "c", "unknown key 'seedd'"),
        ("- a\n", "c", "config.yaml"),
    ],
)
def test_invalid_calls_are_refused_in_one_line(text, name, message):
    with pytest.raises(InputError, match=message) as error:
        with_experiment(text.replace("experiments", "run: a\nexperiments", 1), name, LITTLE, SCHEMA)
    assert "\n" not in str(error.value)


def make_new(folder, *arguments):
    """`early-exit new`, run in a folder."""
    script = [sys.executable, str(ROOT / "scripts/early-exit"), "new", *arguments]
    return subprocess.run(script, cwd=folder, capture_output=True, text=True, timeout=60)


def test_line_ends_stay_as_they_are(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"run: a\r\nexperiments:\r\n  a: {}\r\n")
    assert make_new(tmp_path, "b", "cifar10").returncode == 0
    content = path.read_bytes()
    assert content.startswith(b"run: a\r\nexperiments:\r\n  a: {}\r\n\r\n  b:")
    assert content.count(b"\n") == content.count(b"\r\n") > 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "early-exit: config.yaml: there is no such file here; run this beside it"),
        (
            b"run: a\r\nexperiments:\n  a: {}\n",
            "early-exit: config.yaml: mixes line endings",
        ),
        (b"run: \xe9\n", "early-exit: config.yaml: line 1: the byte 0xe9 is not UTF-8"),
        (b"a: &a {<<: *a}\n", "early-exit: config.yaml: line 1: this anchor contains itself"),
        (b"a: [\n", "early-exit: config.yaml: line 2: not valid YAML"),
        (b"", "early-exit: config.yaml: must be a map"),
    ],
)
def test_a_configuration_that_is_none_is_one_line_and_stays(tmp_path, content, message):
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    shown = make_new(tmp_path, "b", "cifar10")
    assert shown.returncode == 2
    assert shown.stderr.startswith(message)
    assert shown.stderr.count("\n") == 1
    assert content is None or path.read_bytes() == content


def test_an_unknown_kind_is_reported():
    assert chosen_template("folder", TEMPLATES) == TEMPLATES["folder"]
    with pytest.raises(InputError, match=r"kind foldr: unknown; did you mean folder\?"):
        chosen_template("foldr", TEMPLATES)
    with pytest.raises(InputError, match="known: cifar10, data, folder, records"):
        chosen_template("zzz", TEMPLATES)
