"""The configuration: defaults filled in, experiments merged, mistakes named in one line."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from early_exit.errors import InputError

REPLICATE = re.compile(r"(?P<name>[^@]+)@(?P<seed>\d+)")


@dataclass(frozen=True)
class Configuration:
    """A checked configuration.

    Attributes
    ----------
    run
        Names of the experiments to run, replicates such as ``digits@3`` among them.
    data_dir
        Where data sets and checkpoints lie.
    experiments
        All experiments' settings by name, complete.
    """

    run: list[str]
    data_dir: Path
    experiments: dict[str, dict[str, Any]]

    def experiment(self, name: str) -> dict[str, Any]:
        """The settings of an experiment; ``name@seed`` has that seed, and else those of ``name``.

        Raises
        ------
        InputError
            If there is no such experiment.
        """
        replicate = REPLICATE.fullmatch(name)
        base = replicate["name"] if replicate else name
        if base not in self.experiments:
            raise InputError(_unknown("run", base, self.experiments, "experiment"))
        settings = self.experiments[base]
        return settings | {"seed": int(replicate["seed"])} if replicate else settings


def configure(config: dict[str, Any], schema: dict[str, Any]) -> Configuration:
    """Check a configuration against the schema and complete it.

    An experiment is the schema's defaults, overridden by ``defaults``, overridden by its own
    settings: a map merges, anything else, a list too, replaces.

    Raises
    ------
    InputError
        Naming the key, what is wrong with it, and the nearest known one.
    """
    _check(config, schema, schema, "")
    settings = {
        key: config.get(key, part.get("default")) for key, part in schema["properties"].items()
    }
    experiment_schema = schema["$defs"]["experiment"]
    base = merge(schema_defaults(experiment_schema), settings["defaults"] or {})
    experiments = {}
    for name, own in (settings["experiments"] or {}).items():
        experiments[name] = merge(base, own or {})
        _check(experiments[name], experiment_schema, schema, f"experiments.{name}")
    run = settings["run"] if isinstance(settings["run"], list) else [settings["run"]]
    configuration = Configuration(run, Path(settings["data_dir"]).expanduser(), experiments)
    for name in run:
        configuration.experiment(name)
    return configuration


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``base`` overridden by ``over``: maps merge, anything else replaces. Neither is changed."""
    merged = copy.deepcopy(base)
    for key, value in over.items():
        both_maps = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both_maps else copy.deepcopy(value)
    return merged


def schema_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """The defaults that a schema gives to its properties, maps filled in key by key."""
    defaults = {}
    for key, part in schema.get("properties", {}).items():
        if "default" in part:
            defaults[key] = copy.deepcopy(part["default"])
        elif "properties" in part:
            defaults[key] = schema_defaults(part)
    return defaults


def _check(value: Any, part: dict[str, Any], schema: dict[str, Any], where: str) -> None:
    validator = Draft202012Validator({**part, "$defs": schema["$defs"]})
    errors = sorted(_leaves(validator.iter_errors(value)), key=_urgency)
    if errors:
        raise InputError("config: " + _message(errors[0], where))


def _urgency(error: ValidationError) -> tuple[bool, int]:
    # A misspelt key explains the key that then seems to be missing.
    return (error.validator != "additionalProperties", -len(error.absolute_path))


def _leaves(errors: Iterator[ValidationError]) -> Iterator[ValidationError]:
    """Errors of a choice of types are replaced by the one that fits best."""
    for error in errors:
        yield best_match(error.context) if error.validator == "anyOf" and _has_map(error) else error


def _has_map(error: ValidationError) -> bool:
    return isinstance(error.instance, dict)


def _message(error: ValidationError, where: str) -> str:
    path = ".".join([where, *map(str, error.absolute_path)]).strip(".")
    if error.validator in ("additionalProperties", "propertyNames") and isinstance(
        error.instance, dict
    ):
        known = error.schema.get("properties", {})
        unknown = next((str(key) for key in error.instance if key not in known), "")
        return _unknown(path, unknown, known, "key")
    if error.validator == "enum":
        return _unknown(path, str(error.instance), map(str, error.validator_value), "value")
    if error.validator == "anyOf":
        # Short for a choice of types; its sentence is in the schema.
        return f"{path}: {error.instance!r}: {error.schema.get('description', error.message)}"
    return f"{path or 'config.yaml'}: {error.message}"


def _unknown(path: str, given: str, known: Any, what: str) -> str:
    known = list(known)
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"{path + ': ' if path else ''}unknown {what} {given!r}; {hint}"
