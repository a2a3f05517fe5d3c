import json
from pathlib import Path

import pytest
import yaml

from early_exit.configuration import check_keys, configure, merge, schema_defaults
from early_exit.errors import InputError

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def changed(path: str, value) -> dict:
    """The project's config with one key set; the path's parts are separated by slashes."""
    # By JSON, so that what a YAML alias shares is no longer shared.
    config = json.loads(json.dumps(CONFIG))
    *parents, last = path.split("/")
    place = config
    for key in parents:
        place = place.setdefault(key, {})
    place[last] = value
    return config


def test_the_projects_own_configuration():
    found = configure(CONFIG, SCHEMA)
    assert found.run == ["digits"]
    assert found.data_dir == Path("data")
    published = found.experiment("published")
    assert published["exit_rule"] == "above"
    assert published["selection"]["criterion"] == "ratio"
    # Not set anywhere but in the schema.
    assert published["inference"]["batch_size"] == 32


def test_maps_merge_and_lists_replace():
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merge(base, {"a": {"y": [3]}}) == {"a": {"x": 1, "y": [3]}, "b": 1}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


def test_an_experiment_overrides_the_defaults_and_they_the_schema():
    config = changed("defaults/sweep", {"points": 7})
    config["experiments"]["digits"]["sweep"] = {"cutoffs": [0.1]}
    sweep = configure(config, SCHEMA).experiment("digits")["sweep"]
    assert sweep == {"points": 7, "cutoffs": [0.1], "shards": 1}


def test_every_setting_has_a_default_and_a_description():
    def check(part, path):
        for key, value in part["properties"].items():
            assert value.get("description"), f"{path}.{key}"
            if "properties" in value:
                check(value, f"{path}.{key}")
            elif key not in part.get("required", []):
                assert "default" in value, f"{path}.{key}"

    check(SCHEMA["$defs"]["experiment"], "experiment")
    assert schema_defaults(SCHEMA["$defs"]["experiment"])["measure"] == "entropy"


def test_a_replicate_is_the_experiment_with_that_seed():
    found = configure(changed("run", ["digits", "digits@3"]), SCHEMA)
    assert found.experiment("digits@3") == found.experiment("digits") | {"seed": 3}


def test_a_replicate_is_trained_even_where_there_is_a_checkpoint():
    found = configure(CONFIG, SCHEMA)
    assert found.experiment("published")["network"]["checkpoint"]
    replicate = found.experiment("published@0")
    assert replicate["network"] == {"name": "branchynet", "arguments": {}, "checkpoint": None}
    assert replicate["seed"] == 0
    # The experiment's own settings are as they were.
    assert found.experiment("published")["network"]["checkpoint"]


RECORDS = {"calibration": "a.npz", "test": "b.npz", "costs": "c.csv"}


def test_defaults_for_networks_do_not_reach_an_experiment_of_records():
    config = changed("experiments/mine", {"records": RECORDS})
    config["defaults"] |= {"replication": True, "exits": {"shards": 3}, "sweep": {"points": 9}}
    own = configure(config, SCHEMA).experiment("mine")
    assert (own["replication"], own["exits"]["shards"], own["sweep"]["points"]) == (False, 1, 9)
    assert own["records"] == RECORDS
    assert configure(config, SCHEMA).experiment("digits")["records"] is None


@pytest.mark.parametrize(
    ("experiment", "run", "message"),
    [
        ({"records": RECORDS, "seed": 3}, "mine", "mine.seed: does not apply to an experiment w"),
        ({"records": RECORDS}, "mine@3", "run: mine@3: mine is made of records"),
        ({"measure": "given"}, "mine", "mine.measure: given, but that is what `records` come with"),
        ({"records": {"test": "x"}}, "mine", "mine.records: needs the key 'calibration'"),
        ({"records": RECORDS | {"class_names": ["a"]}}, "mine", "class_names: .* at least 2"),
        ({"records": "x.npz"}, "mine", "mine.records: 'x.npz', but must be a map or null"),
    ],
)
def test_a_mistake_about_records_is_named(experiment, run, message):
    config = changed("experiments/mine", experiment) | {"run": run}
    with pytest.raises(InputError, match=message) as error:
        configure(config, SCHEMA)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("empty", ["defaults", "experiments/digits", "experiments/new"])
def test_a_key_with_nothing_after_it_means_no_settings(empty):
    configure(changed(empty, None), SCHEMA)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("runn", "digits", "unknown key 'runn'; did you mean 'run'?"),
        ("run", "digts", "run: unknown experiment 'digts'; did you mean 'digits'?"),
        ("run", "digits@x", "unknown experiment 'digits@x'"),
        ("run", [], r"run: \[\], but must be a list of at least 1"),
        (
            "defaults/exit_rul",
            "below",
            "defaults: unknown key 'exit_rul'; did you mean 'exit_rule'",
        ),
        (
            "experiments/digits/sweep/point",
            7,
            "experiments.digits.sweep: unknown key 'point'; did you mean 'points'?",
        ),
        (
            "defaults/exit_rule",
            "belw",
            "defaults.exit_rule: unknown value 'belw'; did you mean 'bel",
        ),
        (
            "defaults/training/learning_rate",
            "5e-3",
            r"must be a number \(YAML reads this as a text: write 0.005\)",
        ),
        (
            "experiments/digits/network/checkpoint",
            {"file": "x", "urls": ["y"]},
            "checkpoint: needs the key 'sha256'",
        ),
        ("defaults/measure", "zzz", "known: entropy, max_probability, margin"),
        ("defaults/sweep/points", "many", "sweep.points: 'many', but must be a whole number"),
        ("defaults/sweep/points", 1, "sweep.points: 1, but must be at least 2"),
        (
            "experiments/digits/calibration/targets",
            [1.5],
            r"targets.0: 1.5, but must be less than 1 \(a share: 0.9 for 90 %\)",
        ),
        ("experiments/digits", [], r"experiments.digits: \[\], but must be a map"),
        ("experiments", {2024: {}}, "experiments: the key 2024 must be a text: put it in quotes"),
        ("defaults/calibration", {"targets": [float("nan")]}, "targets.0: nan, but must be a fin"),
        (
            "defaults/calibration",
            {"targets": [{"macs": float("inf")}]},
            "macs: inf, but must",
        ),
        (
            "defaults/baselines",
            {"method": "certified"},
            "baselines.method: unknown value .certified",
        ),
        ("defaults/sweep/points", 2.0, "points: 2.0, but must be a whole number"),
        ("run", "digits@99999999999", "digits@99999999999.seed: 99999999999, but must be at most"),
        ("experiments/a b", {}, "experiments: 'a b', but must be letters, digits"),
        ("experiments", None, "experiments: {}, but must be a map of at least 1"),
        (
            "experiments/digits/selection/criterion",
            "most_accurate",
            "experiments.digits.selection.latency_budget_ms: not set, but must be a number",
        ),
        (
            "experiments/digits/network/checkpoint",
            3,
            "network.checkpoint: 3, but must be null or a text or a map",
        ),
        (
            "experiments/published/network/checkpoint/url",
            "x",
            "published.network.checkpoint: unknown key 'url'; did you mean 'urls'?",
        ),
        (
            "experiments/published/network/checkpoint/sha256",
            "abc",
            "published.network.checkpoint.sha256: 'abc', but must be 64 digits",
        ),
    ],
)
def test_a_mistake_is_named_in_one_line(path, value, message):
    with pytest.raises(InputError, match=message) as error:
        configure(changed(path, value), SCHEMA)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "run: a\nexperiments:\n  a: {}\nexperiments:\n  b: {}\n",
            "'experiments' .* lines 2 and 4",
        ),
        ("a:\n  - {b: 1, b: 2}\n", "'b' is there twice, in lines 2 and 2"),
    ],
)
def test_a_key_that_is_there_twice_is_named(text, message):
    with pytest.raises(InputError, match=f"config.yaml: the key {message}"):
        check_keys(text, "config.yaml")


@pytest.mark.parametrize("text", ["", "a: 1\n", "a: {b: 1}\nc: {b: 1}\n", "- a\n", "a: [\n"])
def test_keys_that_are_there_once_are_fine(text):
    check_keys(text, "config.yaml")
