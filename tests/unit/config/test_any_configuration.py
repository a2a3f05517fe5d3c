"""Generated configurations: valid ones are accepted, each mistake gives one line with its key."""

import copy

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configurations import SCHEMA, configurations, resolved
from early_exit.config.configuration import configure
from early_exit.errors import InputError


@pytest.mark.thorough
@pytest.mark.faults
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(config=configurations())
def test_valid_configurations_are_accepted(config, tally):
    found = configure(copy.deepcopy(config), SCHEMA)
    for name in found.run:
        assert found.experiment(name)["dataset"]["name"]
    # As YAML, it is the same.
    assert configure(yaml.safe_load(yaml.safe_dump(config)), SCHEMA) == found
    tally["configurations taken"] += 1


def known_keys(value, part, path=()):
    """Path of every known key that is set, with its part of the schema."""
    part = resolved(part)
    for key, own in value.items() if isinstance(value, dict) else ():
        inner = part.get("properties", {}).get(key) or part.get("additionalProperties")
        if isinstance(inner, dict):
            yield (*path, key), resolved(inner)
            yield from known_keys(own, inner, (*path, key))


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
    """Each key with a wrong value for it."""
    yield ("runn",), "x"
    for path, part in known_keys(config, SCHEMA):
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
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(config=configurations(), data=st.data())
def test_each_mistake_gives_one_line_with_the_key(config, data, tally):
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
