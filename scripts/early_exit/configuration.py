"""The configuration: defaults filled in, experiments merged, mistakes named in one line."""

from __future__ import annotations

import copy
import difflib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from early_exit.errors import InputError

LONG = 160
LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
    "minItems": "a list of at least",
    "minProperties": "a map of at least",
}
SHARES = ("maximum", "exclusiveMaximum")
TYPE_WORDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a map",
    "string": "a text",
}
# To a schema, 2.0 is a whole number; to a program that counts with it, it is not.
STRICT = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)
# What an experiment of records from elsewhere has no use for.
OF_NETWORKS = (
    *("seed", "replicates", "dataset", "network", "training", "inference"),
    *("exits", "cost", "evaluation", "speed", "replication", "baselines"),
)
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

        But for its checkpoint: a replicate of fixed weights would be the same network again, so it
        is trained.

        Raises
        ------
        InputError
            If there is no such experiment, or it has nothing that a seed could change.
        """
        replicate = REPLICATE.fullmatch(name)
        base = replicate["name"] if replicate else name
        if base not in self.experiments:
            raise InputError("config: " + _unknown("run", base, self.experiments, "experiment"))
        settings = self.experiments[base]
        if not replicate:
            return settings
        if settings["records"]:
            raise InputError(
                f"config: run: {name}: {base} is made of records, so there is nothing to train with"
                f" another seed; run {base}"
            )
        return merge(settings, {"seed": int(replicate["seed"]), "network": {"checkpoint": None}})


def configure(config: dict[str, Any], schema: dict[str, Any]) -> Configuration:
    """Check a configuration against the schema and complete it.

    An experiment is the schema's defaults, overridden by ``defaults``, overridden by its own
    settings: a map merges, anything else, a list too, replaces.

    Raises
    ------
    InputError
        Naming the key, what is wrong with it, and the nearest known one.
    """
    config = _without_nulls(config)
    _check_yaml(config, "")
    _check(config, schema, schema, "")
    settings = {
        key: config.get(key, part.get("default")) for key, part in schema["properties"].items()
    }
    experiment_schema = schema["$defs"]["experiment"]
    base = merge(schema_defaults(experiment_schema), settings["defaults"])
    experiments = {}
    for name, own in settings["experiments"].items():
        experiments[name] = merge(base, own)
        if experiments[name]["records"]:
            # Defaults that are there for networks are no concern of these.
            plain = schema_defaults(experiment_schema)
            experiments[name] |= {key: own.get(key, plain[key]) for key in OF_NETWORKS}
        _check(experiments[name], experiment_schema, schema, f"experiments.{name}")
        _check_records(experiments[name], own, f"experiments.{name}")
    run = _as_list(settings["run"])
    configuration = Configuration(run, Path(settings["data_dir"]).expanduser(), experiments)
    for name in run:
        _check(configuration.experiment(name), experiment_schema, schema, name)
    return configuration


def _check_records(settings: dict[str, Any], own: dict[str, Any], where: str) -> None:
    """What a schema cannot tell of an experiment of records; ``own`` is what it sets itself."""
    if not settings["records"]:
        if settings["measure"] == "given":
            raise InputError(
                f"config: {where}.measure: given, but that is what `records` come with; with a"
                " network it must be entropy, max_probability or margin"
            )
        return
    needless = [key for key in OF_NETWORKS if key in own]
    if needless:
        raise InputError(
            f"config: {where}.{needless[0]}: does not apply to an experiment with `records`, which"
            " has no network; take one of the two out"
        )


def check_keys(text: str, name: str) -> None:
    """Refuse YAML in which a map has a key twice: the second would silently replace the first.

    Raises
    ------
    InputError
        Naming the key and both lines.
    """
    try:
        waiting = [yaml.compose(text, Loader=yaml.SafeLoader)]
    except yaml.YAMLError:
        # Whoever reads it says what is wrong.
        return
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen and isinstance(key.value, str):
                raise InputError(
                    f"{name}: the key {key.value!r} is there twice, in lines {seen[key.value]} and"
                    f" {line}; put what is below the second under the first"
                )
            if isinstance(key.value, str):
                seen[key.value] = line
            waiting.append(value)


def _without_nulls(config: dict[str, Any]) -> dict[str, Any]:
    """``defaults:`` or ``name:`` with nothing after it means no settings of its own."""
    experiments = config.get("experiments")
    if isinstance(experiments, dict):
        experiments = {name: {} if own is None else own for name, own in experiments.items()}
    config = config | {"experiments": experiments}
    return {key: {} if value is None else value for key, value in config.items()}


def _check_yaml(value: Any, where: str) -> None:
    """Refuse what YAML can say and a schema cannot: keys that are no texts, .nan and .inf."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"config: {where}: {value}, but must be a finite number")
    items = value.items() if isinstance(value, dict) else ()
    for key, own in enumerate(value) if isinstance(value, list) else items:
        if isinstance(value, dict) and not isinstance(key, str):
            place = where or "config.yaml"
            raise InputError(f"config: {place}: the key {key!r} must be a text: put it in quotes")
        _check_yaml(own, f"{where}.{key}".strip("."))


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
    validator = STRICT({**part, "$defs": schema["$defs"]})
    errors = [leaf for error in validator.iter_errors(value) for leaf in _leaves(error)]
    if errors:
        raise InputError("config: " + _message(min(errors, key=_urgency), where))


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    """What is wrong within the alternative that has the right type; else the error itself."""
    if error.validator != "anyOf":
        yield error
        return
    alternatives: dict[Any, list[ValidationError]] = {}
    for inner in error.context:
        alternatives.setdefault(inner.schema_path[0], []).append(inner)
    fitting = [
        inners
        for inners in alternatives.values()
        if not any(inner.validator == "type" and not inner.path for inner in inners)
    ]
    if fitting:
        yield from fitting[0]
    else:
        yield error


def _urgency(error: ValidationError) -> tuple[bool, int]:
    # A misspelt key explains the key that then seems to be missing.
    return (error.validator != "additionalProperties", -len(error.absolute_path))


def _message(error: ValidationError, where: str) -> str:
    path = ".".join([where, *map(str, error.absolute_path)]).strip(".")
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(str(key) for key in error.instance if key not in known)
        return _unknown(path, unknown, known, "key")
    if error.validator == "enum":
        other = f"; {error.schema['title']}" if "title" in error.schema else ""
        return _unknown(path, str(error.instance), map(str, error.validator_value), "value") + other
    if error.validator in ("type", "anyOf"):
        given = "not set" if error.instance is None else _short(error.instance)
        return f"{path or 'config.yaml'}: {given}, but must be {_types(error)}{_number(error)}"
    return f"{path or 'config.yaml'}: {_what_would_be_right(error)}"


def _what_would_be_right(error: ValidationError) -> str:
    given, limit = _short(error.instance), error.validator_value
    if error.validator in LIMITS:
        share = " (a share: 0.9 for 90 %)" if limit == 1 and error.validator in SHARES else ""
        return f"{given}, but must be {LIMITS[error.validator]} {limit}{share}"
    if error.validator == "pattern":
        return f"{given}, but must be {error.schema.get('title', f'like {limit}')}"
    if error.validator == "required":
        missing = next(key for key in limit if key not in error.instance)
        return f"needs the key {missing!r}"
    return error.message if len(error.message) < LONG else f"does not fit ({error.validator})"


def _types(error: ValidationError) -> str:
    schemas = error.validator_value if error.validator == "anyOf" else [error.schema]
    types = [t for part in schemas for t in _as_list(part.get("type", "a map"))]
    return " or ".join(TYPE_WORDS.get(t, t) for t in types)


def _number(error: ValidationError) -> str:
    """A hint where YAML took a number for a text, as it does with 5e-3."""
    try:
        number = float(error.instance) if isinstance(error.instance, str) else None
    except ValueError:
        return ""
    return f" (YAML reads this as a text: write {number:g})" if number is not None else ""


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < LONG else f"{text[: LONG - 3]}..."


def _unknown(path: str, given: str, known: Any, what: str) -> str:
    known = list(known)
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"{path + ': ' if path else ''}unknown {what} {given!r}; {hint}"
