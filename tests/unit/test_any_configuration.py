"""Any configuration that the schema allows is taken; any mistake in one is named in one line."""

import copy
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from early_exit.configuration import configure
from early_exit.errors import InputError

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())
EXPERIMENT = SCHEMA["$defs"]["experiment"]
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,7}", fullmatch=True)


def resolved(part):
    """A part of the schema, a reference followed."""
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
    """Maps with some of the known keys, those that are required among them."""
    if "properties" not in part:
        return st.dictionaries(NAMES, values(part["additionalProperties"]), min_size=1, max_size=3)
    if "maxProperties" in part:
        return st.sampled_from(sorted(part["properties"])).flatmap(
            lambda key: st.fixed_dictionaries({key: values(part["properties"][key])})
        )
    known = {key: values(value) for key, value in part["properties"].items()}
    needed = {key: known.pop(key) for key in part.get("required", [])}
    return st.fixed_dictionaries(needed, optional=known)


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
    """Lists of what is allowed in them; what must be in them is."""
    needed = [one["contains"]["const"] for one in part.get("allOf", [])]
    items = st.lists(
        values(part["items"]),
        min_size=max(part.get("minItems", 0), 1 if "contains" in part else 0),
        max_size=4,
        unique_by=json.dumps if part.get("uniqueItems") else None,
    )
    return items.map(lambda some: needed + [one for one in some if one not in needed])


def texts(part):
    """Texts of the part's pattern."""
    if "pattern" in part:
        return st.from_regex(part["pattern"], fullmatch=True)
    return st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)


KINDS = {
    "null": lambda part: st.none(),
    "boolean": lambda part: st.booleans(),
    "integer": lambda part: st.integers(part.get("minimum", 0), part.get("minimum", 0) + 999),
    "number": numbers,
    "string": texts,
    "array": lists,
    "object": maps,
}


@st.composite
def configurations(draw):
    """Whole configurations; what one key asks of another, which types cannot tell, is given."""
    config = draw(maps(SCHEMA | {"required": ["experiments"]}))
    names = list(config["experiments"])
    replicate = st.sampled_from(names).flatmap(
        lambda name: st.integers(0, 9).map(lambda seed: f"{name}@{seed}")
    )
    config["run"] = draw(st.lists(st.sampled_from(names) | replicate, min_size=1, max_size=3))
    for own in [config.get("defaults", {}), *config["experiments"].values()]:
        limits = {"accuracy_floor": 0.5, "latency_budget_ms": 1.0, "certified_bound": 0.1}
        own["selection"] = limits | {
            key: value for key, value in own.get("selection", {}).items() if value is not None
        }
        weights = own.get("training", {}).get("exit_weights")
        if weights is not None and not any(weights):
            weights[0] = 1.0
    return config


@pytest.mark.faults
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(config=configurations())
def test_what_the_schema_allows_is_taken(config):
    found = configure(copy.deepcopy(config), SCHEMA)
    for name in found.run:
        assert found.experiment(name)["dataset"]["name"]
    # As YAML, it is the same.
    assert configure(yaml.safe_load(yaml.safe_dump(config)), SCHEMA) == found


def places(value, part, path=()):
    """Every known key that is set, with its part of the schema."""
    part = resolved(part)
    for key, own in value.items() if isinstance(value, dict) else ():
        inner = part.get("properties", {}).get(key) or part.get("additionalProperties")
        if isinstance(inner, dict):
            yield (*path, key), resolved(inner)
            yield from places(own, inner, (*path, key))


WRONG = {
    "null": "x",
    "boolean": "maybe",
    "integer": "many",
    "number": "many",
    "string": ["x"],
    "array": {"x": 1},
    "object": 3,
}


def mistakes(config):
    """Each key with a mistake in it, and the mistake: what stands there instead."""
    yield ("runn",), "x"
    for path, part in places(config, SCHEMA):
        if "properties" in part and isinstance(at(config, path), dict):
            yield (*path, "unknwon"), 1
        if "enum" in part:
            yield path, "nonesuch"
        elif "anyOf" not in part:
            types = part["type"] if isinstance(part["type"], list) else [part["type"]]
            yield path, next(w for kind, w in WRONG.items() if kind in types and kind != "null")
            yield from ((path, value) for value in outside(part))


def outside(part):
    """Values of the right type that are out of the part's limits."""
    if "minimum" in part:
        yield part["minimum"] - 1
    if "exclusiveMinimum" in part:
        yield part["exclusiveMinimum"]
    if "maximum" in part:
        yield part["maximum"] + 1
    if "exclusiveMaximum" in part:
        yield part["exclusiveMaximum"]
    if part.get("minItems"):
        yield []
    if part.get("minLength"):
        yield ""


def at(config, path):
    for key in path:
        config = config[key]
    return config


@pytest.mark.faults
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(config=configurations(), data=st.data())
def test_any_mistake_is_one_line_that_names_the_key(config, data, tally):
    options = list(mistakes(config))
    for path, value in data.draw(st.lists(st.sampled_from(options), min_size=8, max_size=8)):
        broken = copy.deepcopy(config)
        at(broken, path[:-1])[path[-1]] = value
        with pytest.raises(InputError) as error:
            configure(broken, SCHEMA)
        text = str(error.value)
        assert "\n" not in text
        assert text.startswith("config: ")
        assert path[-1] in text, (path, value, text)
        assert len(text) < 400
        tally["bad configurations named"] += 1
