"""Check a configuration, fill in its defaults and merge its experiments."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from early_exit.config.runtimes import check_inference
from early_exit.config.validation import as_list, check_against, short, unknown
from early_exit.config.values import check_values
from early_exit.errors import InputError

# Keys that do not apply to an experiment of external records.
OF_NETWORKS = (
    *("seed", "replicates", "dataset", "network", "training", "inference", "quantization"),
    *("exits", "cost", "evaluation", "speed", "drift", "reproduction", "baselines"),
)
# A seed has one spelling: @3, not @03.
SEED = "0|[1-9][0-9]{0,17}"
REPLICATE = re.compile(rf"(?P<name>[^@]+)@(?P<seed>{SEED})")


@dataclass(frozen=True)
class Configuration:
    """A checked configuration.

    Attributes
    ----------
    run
        Names of the experiments to run, including replicates such as ``digits@3``.
    data_dir
        Folder of data sets and checkpoints.
    experiments
        Complete settings of every experiment, by name.
    """

    run: list[str]
    data_dir: Path
    experiments: dict[str, dict[str, Any]]

    def experiment(self, name: str) -> dict[str, Any]:
        """Settings of an experiment, or of its replicate ``name@seed``.

        A replicate has the settings of ``name`` with that seed and no checkpoint: with fixed
        weights it would be the same network again.

        Raises
        ------
        InputError
            If the experiment is unknown, or is made of records and has no seed.
        """
        replicate = REPLICATE.fullmatch(name)
        base = replicate["name"] if replicate else name
        if base not in self.experiments:
            raise InputError("config: " + unknown("run", base, self.experiments, "experiment"))
        settings = self.experiments[base]
        if not replicate:
            return settings
        if settings["records"]:
            raise InputError(
                f"config: run: {name}: {base} is made of records, so no network is trained and no"
                " seed applies",
                f"run {base}",
            )
        return merge(settings, {"seed": int(replicate["seed"]), "network": {"checkpoint": None}})


def configure(config: dict[str, Any], schema: dict[str, Any]) -> Configuration:
    """Check a configuration against the schema and fill in its defaults.

    An experiment's own settings override ``defaults``, which override the schema's defaults. Maps
    merge; anything else, lists included, replaces.

    Raises
    ------
    InputError
        If a key or value is not valid; the message gives the key and the nearest known one.
    """
    check_values(config)
    config = _without_nulls(config)
    check_against(config, schema, schema, "")
    settings = {
        key: config.get(key, part.get("default")) for key, part in schema["properties"].items()
    }
    experiment_schema = schema["$defs"]["experiment"]
    base = merge(schema_defaults(experiment_schema), settings["defaults"])
    experiments = {}
    for name, own in settings["experiments"].items():
        experiments[name] = merge(base, own)
        if experiments[name]["records"]:
            # `defaults` may have settings of networks, which don't apply here.
            plain = schema_defaults(experiment_schema)
            experiments[name] |= {key: own.get(key, plain[key]) for key in OF_NETWORKS}
        check_against(experiments[name], experiment_schema, schema, f"experiments.{name}")
        _check_records(experiments[name], own, f"experiments.{name}")
        check_inference(experiments[name]["inference"], f"config: experiments.{name}.inference")
    # Drop duplicates.
    run = [*dict.fromkeys(as_list(settings["run"]))]
    configuration = Configuration(run, _data_dir(settings["data_dir"]), experiments)
    for name in run:
        check_against(configuration.experiment(name), experiment_schema, schema, name)
    for own in experiments.values():
        own["measure"] = as_list(own["measure"])
    return configuration


def _data_dir(given: str) -> Path:
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise InputError(f"config: data_dir: {short(given)}: there is no such user") from error


def _check_records(settings: dict[str, Any], own: dict[str, Any], where: str) -> None:
    """Check what the schema cannot express about ``records``; ``own`` are unmerged settings."""
    if not settings["records"]:
        if settings["measure"] == "external":
            raise InputError(
                f"config: {where}.measure: external, which is for `records` with uncertainties; for"
                " a network it must be another, such as margin"
            )
        return
    needless = [key for key in OF_NETWORKS if key in own]
    if needless:
        raise InputError(
            f"config: {where}.{needless[0]}: does not apply to an experiment with `records`, which"
            " has no network",
            "remove one of the two",
        )


def _without_nulls(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with empty maps for keys without a value, such as ``defaults:``."""
    experiments = config.get("experiments")
    if isinstance(experiments, dict):
        experiments = {name: {} if own is None else own for name, own in experiments.items()}
    config = config | {"experiments": experiments}
    return {key: {} if value is None else value for key, value in config.items()}


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``base`` overridden by ``over``: maps merge, anything else replaces. Neither is changed."""
    merged = copy.deepcopy(base)
    for key, value in over.items():
        both_maps = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both_maps else copy.deepcopy(value)
    return merged


def schema_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """Defaults of a schema's properties; nested maps are filled in key by key."""
    defaults = {}
    for key, part in schema.get("properties", {}).items():
        if "default" in part:
            defaults[key] = copy.deepcopy(part["default"])
        elif "properties" in part:
            defaults[key] = schema_defaults(part)
    return defaults
