"""Numbers in maps and lists on the command line, which Snakemake reads as strings."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import yaml

from early_exit.config.validation import STRICT, leaves


def with_numbers(
    config: dict[str, Any], given: dict[str, Any], schema: dict[str, Any]
) -> dict[str, Any]:
    """``config`` with the command-line values in ``given`` converted as in a YAML file.

    In maps and lists of ``--config`` Snakemake reads numbers, ``true`` and ``null`` as strings.
    They are converted unless the schema needs a string there.
    """
    config = copy.deepcopy(config)
    texts = {}
    for path, text in _texts(given):
        if _at(config, path) == text and (value := _read(text)) is not text:
            texts[path] = text
            _put(config, path, value)
    validator = STRICT(schema)
    wrong: set[tuple] = set(texts)
    while wrong:
        errors = [leaf for error in validator.iter_errors(config) for leaf in leaves(error)]
        wrong = {tuple(error.absolute_path) for error in errors} & set(texts)
        for path in wrong:
            _put(config, path, texts.pop(path))
    return config


def _texts(value: Any, path: tuple = ()) -> Iterator[tuple[tuple, str]]:
    """Strings in maps and lists, each with its path of keys."""
    if isinstance(value, str) and path:
        yield path, value
    items = value.items() if isinstance(value, dict) else ()
    for key, own in enumerate(value) if isinstance(value, list) else items:
        yield from _texts(own, (*path, key))


def _read(text: str) -> Any:
    """The number, bool or null that YAML or Python's ``float`` reads, else the string."""
    try:
        value = yaml.safe_load(text)
        if value == text and math.isfinite(float(text)):
            return float(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        return text
    return value if value is None or isinstance(value, bool | int | float) else text


def _at(value: Any, path: tuple) -> Any:
    """The value at ``path``, or ``None``."""
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _put(value: Any, path: tuple, new: Any) -> None:
    _at(value, path[:-1])[path[-1]] = new
