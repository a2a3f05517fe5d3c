"""Add an experiment to config.yaml without changing the rest of its text."""

from __future__ import annotations

import difflib
import re
from typing import Any

import yaml

from early_exit.config.configuration import configure
from early_exit.config.parse import checked_text
from early_exit.config.validation import matches
from early_exit.errors import InputError, plain

PLACEHOLDER = "NAME"


def with_experiment(text: str, name: str, template: str, schema: dict[str, Any]) -> str:
    """Text of a configuration with one more experiment, at the end of ``experiments``.

    Parameters
    ----------
    text
        Content of ``config.yaml``.
    name
        Name of the experiment.
    template
        The experiment as YAML, indented by two spaces, named ``NAME``; it may have comments.
    schema
        ``scripts/early_exit/config/schema.yaml``.

    Raises
    ------
    InputError
        If the name is not valid or taken, or the configuration is not valid before or after.
    """
    before = _checked(text, schema)
    _check_name(name, schema["properties"]["experiments"]["propertyNames"])
    if name in before["experiments"]:
        raise InputError(f"name {name}: config.yaml has that experiment", "choose another name")
    body, rest = _experiments(text)
    lines = template.strip("\n").replace(f"  {PLACEHOLDER}:", f"  {name}:", 1).split("\n")
    indent = _indent(body)
    added = "".join(f"{indent}{line.removeprefix('  ')}".rstrip() + "\n" for line in lines)
    blank = "\n" if rest and not rest.startswith("\n") else ""
    new = body.rstrip("\n") + "\n\n" + added + blank + rest
    after = _checked(new, schema)
    own = after["experiments"].pop(name)
    if not isinstance(own, dict) or after != before:
        raise InputError("config.yaml: the experiment cannot be added", "write it by hand")
    return new


def chosen_template(kind: str, templates: dict[str, str]) -> str:
    """Template of a kind.

    Raises
    ------
    InputError
        If the kind is unknown.
    """
    if kind not in templates:
        near = difflib.get_close_matches(kind, templates, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(templates))}"
        raise InputError(f"kind {plain(kind)}: unknown", hint)
    return templates[kind]


def _check_name(name: str, named: dict[str, Any]) -> None:
    shown = plain(name[: named["maxLength"] + 1])
    if not matches(named["pattern"], name) or len(name) > named["maxLength"]:
        raise InputError(f"name {shown}: must be {named['title']}")
    if not isinstance(yaml.safe_load(name), str):
        raise InputError(
            f"name {shown}: YAML does not read this as a string",
            "choose a name with more letters",
        )


def _checked(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    config = yaml.safe_load(checked_text(text.encode(), "config.yaml"))
    configure(config, schema)
    return config


def _experiments(text: str) -> tuple[str, str]:
    """The text up to the end of the key ``experiments``, and the rest."""
    start = re.search(r"^experiments:[ \t]*(#.*)?$", text, re.MULTILINE)
    if not start:
        raise InputError(
            "config.yaml: experiments must be on a line of its own, the experiments below it"
        )
    # Comments before the next key belong to that key.
    after = re.compile(r"^(#.*\n|\n)*[^\s#]", re.MULTILINE).search(text, start.end() + 1)
    end = after.start() if after else len(text)
    return text[:end], text[end:]


def _indent(body: str) -> str:
    """Indentation of an experiment's name."""
    last = body.rindex("experiments:")
    first = re.search(r"^([ ]+)[^\s#]", body[last:], re.MULTILINE)
    return first[1] if first else "  "
