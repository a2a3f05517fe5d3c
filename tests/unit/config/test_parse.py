"""Checks before parsing: each fault of a configuration file gives one line, quickly."""

import json
import os
from pathlib import Path

import pytest
import yaml

from early_exit.config.parse import LONGEST, checked_text, read_configuration
from early_exit.errors import InputError
from fuzzing import limits

ROOT = Path(__file__).parents[3]
LAUGHS = "x0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
MERGED = "x0: &x0 {a0: 1}\n" + "".join(
    f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 9)}], a{i}: 1}}\n" for i in range(1, 20)
)
CHAIN = "x0: &x0 [1]\n" + "".join(f"x{i}: &x{i} [*x{i - 1}]\n" for i in range(1, 2000))


def test_the_projects_own_are_fine():
    for path in (ROOT / "config.yaml", ROOT / "scripts/early_exit/config/schema.yaml"):
        assert checked_text(path.read_bytes(), path.name) == path.read_text()


@pytest.mark.parametrize(
    "text",
    [
        *("a: 1\n", "a: {b: 1}\nc: {b: 1}\n", "{a: 1, b: [2]}", '{"a": 1}', "\ufeffa: 1\n"),
        *(
            "a: &x {b: 1}\nc: {<<: *x, d: 2}\n",
            "a: &x [1, 2]\nb: [*x, *x, *x]\n",
            "a: 1\r\nb: 2\r\n",
        ),
        *(
            '{\n\t"a": [1, 2],\n\t"b": {}\n}',
            "a: '2024-01-01'\n",
            "a: |\n  two\n  lines\n",
            "---\na: 1\n",
        ),
        *(
            "a: é\nb: \N{SNOWMAN}\n",
            "a: 0x1F\nb: 1_000\nc: 1.5e+3\nd: ~\ne: yes\n",
            "# only\na: !!str 1",
        ),
        "a: " + "[" * 25 + "]" * 25,
    ],
)
def test_valid_files_are_accepted(text):
    assert checked_text(text.encode(), "config.yaml") == text
    assert yaml.safe_load(text) if "\t" not in text else json.loads(text)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: &x [*x]\n", "line 2: this anchor contains itself; write it out"),
        ("experiments:\n  d: {description: &x [[*x], 1]}\n", "line 2: this anchor contains it"),
        ("a: &a {<<: *a}\n", "line 1: this anchor contains itself"),
        ("a: &a {b: {<<: *a}}\n", "line 1: this anchor contains itself"),
        ("a: &a\n  <<: [*a, *a]\n", "line [12]: this anchor contains itself"),
        (LAUGHS, "line 6: expands to more than 100,000 values"),
        (MERGED, "line 6: expands to more than 100,000 values"),
        (CHAIN, "line 30: more than 30 levels of nested maps and lists"),
        ("a: " + "[" * 100_000, "line 1: more than 30 levels of nested maps and lists"),
        ("a: " + "{a: " * 5000 + "}" * 5000, "line 1: more than 30 levels of nested"),
        ('{"a": ' + "[" * 50_000 + "]" * 50_000 + "}", "more than 30 levels of nested"),
        (
            "\n".join(" " * i + f"a{i}:" for i in range(500)),
            "line 30: more than 30 levels of nested",
        ),
        ("a: 1\nb: " + "9" * 5000, "line 2: a number of 5,000 characters"),
        ('{"a": 1, "b": ' + "9" * 5000 + "}", "line 1: a number of 5,000 characters"),
        ("a: " + "1:" * 100_000 + "1", "line 1: a number of 200,001 characters"),
        ("a: 1." + "0" * 200, "line 1: a number of 202 characters"),
        ("a: 1\nb: 2024-01-01\n", "line 2: YAML reads '2024-01-01' as a date: put it in quotes"),
        ("a: 2024-99-99\n", "line 1: YAML reads '2024-99-99' as a date"),
        ("a: =\n", "line 1: a single =: put it in quotes"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "line 1: the tag '!!python/object/apply:os.s",
        ),
        (
            "a: 1\nb: !!python/tuple [1]\n",
            "line 2: the tag '!!python/tuple' is not allowed; remove",
        ),
        ("a: !!set {b, c}\n", "line 1: the tag '!!set' is not allowed"),
        ("a: !!binary eA==\n", "line 1: the tag '!!binary' is not allowed"),
        ("a: !mine 1\n", "line 1: the tag '!!!mine' is not allowed"),
        ("a: !!int many\n", "line 1: 'many' is not a valid int"),
        ("a: !!float x\n", "line 1: 'x' is not a valid float"),
        ("a: !!bool x\n", "line 1: 'x' is not a valid bool"),
        ("a: <<\n", "line 1: not valid YAML"),
        ("a: {<<: 1}\n", "line 1: not valid YAML .*expected a mapping"),
        ("a: 1\nb: [\n", "line 3: not valid YAML .*while parsing a flow"),
        ("a: 1\n\tb: 2\n", "line 2: not valid YAML .*; indent with spaces, not tabs"),
        ("a: 1\n b: 2\n", "line 2: not valid YAML .*mapping values are not allowed here"),
        (
            "a: 'x\n",
            "line 2: not valid YAML .*while scanning a quoted scalar, found unexpected end",
        ),
        ("a: *x\n", "line 1: not valid YAML .*undefined alias"),
        ("a: 1\n---\nb: 2\n", "line 2: not valid YAML .*expected a single document"),
        ("a: &x 1\nb: @\n", "line 2: not valid YAML .*cannot start any token"),
        ("%YAML 9.9\n---\na: 1\n", "line 1: not valid YAML .*incompatible YAML document"),
        ("a: 1\nb: \0\n", "line 2: the character U.0000 is not allowed in YAML; remove it"),
        ("a: 1\nb: \x1b[31m\n", "line 2: the character U.001B is not allowed in YAML"),
        ("a: 1\nb: 2\na: 3\n", "the key 'a' appears twice, in lines 1 and 3; move what is under"),
        ("a:\n  - {b: 1, b: 2}\n", "the key 'b' appears twice, in lines 2 and 2"),
        ('{"a": 1, "a": 2}', "the key 'a' appears twice"),
        ("? [a]\n: 1\n", "line 1: a list or a map cannot be a key"),
        ("? {a: 1}\n: 1\n", "line 1: a list or a map cannot be a key"),
        ("a: 1\n__use_yte__: true\n", "line 2: __use_yte__ would run code"),
        ("", "must be a map, with the key experiments"),
        ("# nothing\n", "must be a map, with the key experiments"),
        ("- a\n", "must be a map, with the key experiments"),
        ("[]", "must be a map"),
        ("5", "must be a map"),
        ("a" * (LONGEST + 1), "not a configuration: it has more than 500,000 bytes"),
    ],
)
def test_faults_are_reported_in_one_line_with_the_line_number(text, message, tally):
    with limits(10), pytest.raises(InputError, match=f"^config.yaml: {message}") as error:
        checked_text(text.encode(), "config.yaml")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300
    tally["bad configuration files named"] += 1


@pytest.mark.faults
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a: 1\nb: é\n".encode("latin-1"),
            "line 2: the byte 0xe9 is not UTF-8; save the file as UTF",
        ),
        ("a: 1\n".encode("utf-16"), "is UTF-16 or UTF-32; save it as UTF-8"),
        ("a: 1\n".encode("utf-16-le"), "is UTF-16 or UTF-32; save it as UTF-8"),
        ("a: 1\n".encode("utf-16-be"), "is UTF-16 or UTF-32; save it as UTF-8"),
        ("a: 1\n".encode("utf-32"), "is UTF-16 or UTF-32; save it as UTF-8"),
        (b"a: \xed\xb3\xbf\n", "line 1: the byte 0xed is not UTF-8"),
        (b"a: \xf0\x9f\n", "line 1: the byte 0xf0 is not UTF-8"),
        (bytes(range(256)), "line 1: .* is not UTF-8|is UTF-16|line [0-9]+: the byte"),
    ],
)
def test_a_file_in_another_coding_is_named(content, message, tally):
    with pytest.raises(InputError, match=f"^config.yaml: ({message})"):
        checked_text(content, "config.yaml")
    tally["bad configuration files named"] += 1


def test_a_file_is_read_as_it_is(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"a: 1\r\nb: 2\n")
    assert read_configuration(path) == "a: 1\r\nb: 2\n"


@pytest.mark.parametrize("kind", ["folder", "pipe", "nothing", "huge"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, kind):
    path = tmp_path / "con\nfig.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge":
        path.touch()
        os.truncate(path, 1 << 40)
    known = "(not a regular file|cannot be read|not a configuration: it has more)"
    with limits(5), pytest.raises(InputError, match=f"^con fig.yaml: {known}") as error:
        read_configuration(path)
    assert str(error.value).isprintable()
