"""Hypothesis strategies for valid configurations, derived from the schema."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from hypothesis import strategies as st

from early_exit.config.configuration import OF_NETWORKS
from early_exit.config.runtimes import check_inference
from early_exit.errors import InputError

ROOT = Path(__file__).parents[1]
SCHEMA = yaml.safe_load((ROOT / "scripts/early_exit/config/schema.yaml").read_text())
EXPERIMENT = SCHEMA["$defs"]["experiment"]


def resolved(part):
    """A part of the schema, with references resolved."""
    return SCHEMA["$defs"][part["$ref"].rpartition("/")[2]] | part if "$ref" in part else part


def values(part):
    """Values that a part of the schema allows."""
    part = resolved(part)
    if "enum" in part:
        return st.sampled_from(part["enum"])
    if "anyOf" in part:
        return st.one_of([values(one) for one in part["anyOf"]])
    types = part["type"] if isinstance(part["type"], list) else [part["type"]]
    return st.one_of([KINDS[kind](part) for kind in types])


def maps(part):
    """Maps with some of the known keys, including the required ones."""
    if "properties" not in part:
        own = values(part["additionalProperties"])
        return st.dictionaries(keys(part), own, min_size=part.get("minProperties", 0), max_size=3)
    if "maxProperties" in part:
        return st.sampled_from(sorted(part["properties"])).flatmap(
            lambda key: st.fixed_dictionaries({key: values(part["properties"][key])})
        )
    known = {key: values(value) for key, value in part["properties"].items()}
    needed = {key: known.pop(key) for key in part.get("required", [])}
    return st.fixed_dictionaries(needed, optional=known)


def keys(part):
    """Keys of a map whose names match a pattern."""
    pattern = part["propertyNames"]["pattern"]
    ascii_letters = st.characters(codec="ascii")
    return st.from_regex(pattern, fullmatch=True, alphabet=ascii_letters).map(lambda key: key[:8])


def numbers(part):
    """Numbers within the part's limits."""
    low, high = part.get("minimum"), part.get("maximum")
    return st.floats(
        part.get("exclusiveMinimum", low),
        part.get("exclusiveMaximum", high),
        exclude_min="exclusiveMinimum" in part,
        exclude_max="exclusiveMaximum" in part,
        allow_nan=False,
        allow_infinity=False,
        width=32,
    )


def lists(part):
    """Lists of allowed items, including the required ones."""
    needed = [one["contains"]["const"] for one in part.get("allOf", [])]
    items = st.lists(
        values(part["items"]),
        min_size=max(part.get("minItems", 0), 1 if "contains" in part else 0),
        max_size=min(4, part.get("maxItems", 4)),
        unique_by=json.dumps if part.get("uniqueItems") else None,
    )
    return items.map(lambda some: needed + [one for one in some if one not in needed])


def texts(part):
    """Strings that match the part's pattern."""
    if "pattern" in part:
        shown = st.characters(exclude_categories=["C", "Z"])
        return st.from_regex(part["pattern"], fullmatch=True, alphabet=shown)
    return st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)


KINDS = {
    "null": lambda part: st.none(),
    "boolean": lambda part: st.booleans(),
    "integer": lambda part: st.integers(
        part.get("minimum", 0), min(part.get("minimum", 0) + 999, part.get("maximum", 10**9))
    ),
    "number": numbers,
    "string": texts,
    "array": lists,
    "object": maps,
}


def settings(config, name, key):
    """A setting of the experiment or the defaults, or None."""
    own, base = config["experiments"][name], config.get("defaults", {})
    return own.get(key, base.get(key))


def of_records(config):
    """Remove keys that don't apply to records, or only to them."""
    for name, own in config["experiments"].items():
        if settings(config, name, "records"):
            for key in OF_NETWORKS:
                own.pop(key, None)
        if (
            not settings(config, name, "records")
            and settings(config, name, "measure") == "external"
        ):
            own["measure"] = "entropy"


def in_pairs(config):
    """Run what has a precision, or a device, that its backend lacks with torch in fp32."""
    for name, own in config["experiments"].items():
        if settings(config, name, "records"):
            continue
        reference = {"backend": "torch", "precision": "fp32"}
        given = config.get("defaults", {}).get("inference", {}) | own.get("inference", {})
        used = reference | {"device": "cpu"} | given
        try:
            check_inference(used, "")
        except InputError:
            own["inference"] = own.get("inference", {}) | reference


@st.composite
def configurations(draw):
    """Complete configurations, with dependencies between keys satisfied."""
    config = draw(maps(SCHEMA | {"required": ["experiments"]}))
    names = list(config["experiments"])
    replicate = st.sampled_from(names).flatmap(
        lambda name: st.integers(0, 9).map(lambda seed: f"{name}@{seed}")
    )
    of_records(config)
    in_pairs(config)
    # Experiments of records have no replicates.
    recorded = {name for name in names if settings(config, name, "records")}
    replicate = replicate.filter(lambda name: name.partition("@")[0] not in recorded)
    config["run"] = draw(st.lists(st.sampled_from(names) | replicate, min_size=1, max_size=3))
    for own in [config.get("defaults", {}), *config["experiments"].values()]:
        limits = {"accuracy_floor": 0.5, "latency_budget_ms": 1.0, "certified_bound": 0.1}
        limits |= {"thresholds": [0.5, "never"]}
        own["selection"] = limits | {
            key: value for key, value in own.get("selection", {}).items() if value is not None
        }
        weights = own.get("training", {}).get("exit_weights")
        if weights is not None and not any(weights):
            weights[0] = 1.0
    return config
