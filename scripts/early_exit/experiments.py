"""A new experiment in config.yaml: text is added, and nothing else changes, comments neither."""

from __future__ import annotations

import difflib
import re
from typing import Any

import yaml

from early_exit.configuration import configure
from early_exit.errors import InputError

PLACEHOLDER = "NAME"


def with_experiment(text: str, name: str, template: str, schema: dict[str, Any]) -> str:
    """The text of a configuration with an experiment more, at the end of ``experiments``.

    Parameters
    ----------
    text
        What ``config.yaml`` holds.
    name
        The experiment's.
    template
        The experiment as YAML, indented by two blanks, its name ``NAME``; comments are welcome.
    schema
        ``rules/config.schema.yaml``.

    Raises
    ------
    InputError
        If the name is none or is taken, or if the configuration is not valid, before or after.
    """
    before = _checked(text, schema)
    named = schema["properties"]["experiments"]["propertyNames"]
    if not re.fullmatch(named["pattern"], name) or name.endswith("\n"):
        raise InputError(f"NAME={name}: must be {named['title']}")
    if name in before["experiments"]:
        raise InputError(f"NAME={name}: config.yaml has that experiment; give another name")
    body, rest = _experiments(text)
    lines = template.strip("\n").replace(f"  {PLACEHOLDER}:", f"  {name}:", 1).split("\n")
    indent = _indent(body)
    added = "".join(f"{indent}{line.removeprefix('  ')}".rstrip() + "\n" for line in lines)
    blank = "\n" if rest and not rest.startswith("\n") else ""
    new = body.rstrip("\n") + "\n\n" + added + blank + rest
    after = _checked(new, schema)
    own = after["experiments"].pop(name)
    if not isinstance(own, dict) or after != before:
        raise InputError("config.yaml: an experiment cannot be added to it; write it by hand")
    return new


def chosen_template(kind: str, templates: dict[str, str]) -> str:
    """The template of a kind.

    Raises
    ------
    InputError
        If there is none, naming those that there are.
    """
    if kind not in templates:
        near = difflib.get_close_matches(kind, templates, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(templates))}"
        raise InputError(f"KIND={kind}: unknown; {hint}")
    return templates[kind]


def _checked(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = str(error).replace("\n", " ")
        raise InputError(f"config.yaml: no YAML ({where})") from error
    if not isinstance(config, dict):
        raise InputError("config.yaml: must be a map with the key experiments")
    configure(config, schema)
    return config


def _experiments(text: str) -> tuple[str, str]:
    """The text up to the end of the key ``experiments``, and what comes after."""
    start = re.search(r"^experiments:[ \t]*(#.*)?$", text, re.MULTILINE)
    if not start:
        raise InputError(
            "config.yaml: experiments must stand on a line of its own, the experiments below it"
        )
    # Comments before the next key belong to that.
    after = re.compile(r"^(#.*\n|\n)*[^\s#]", re.MULTILINE).search(text, start.end() + 1)
    end = after.start() if after else len(text)
    return text[:end], text[end:]


def _indent(body: str) -> str:
    """The blanks before an experiment's name."""
    last = body.rindex("experiments:")
    first = re.search(r"^([ ]+)[^\s#]", body[last:], re.MULTILINE)
    return first[1] if first else "  "
