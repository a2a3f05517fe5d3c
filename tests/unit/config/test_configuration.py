import datetime
import json
from pathlib import Path

import pytest
import yaml

from early_exit.api.criterion import MEASURES
from early_exit.config.configuration import configure, merge, schema_defaults
from early_exit.config.numbers import with_numbers
from early_exit.errors import InputError
from fuzzing import limits

ROOT = Path(__file__).parents[3]
SCHEMA = yaml.safe_load((ROOT / "scripts/early_exit/config/schema.yaml").read_text())
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def changed(path: str, value) -> dict:
    """The project's config with one key set; the path's parts are separated by slashes."""
    # Through JSON, which copies what YAML aliases share.
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
    assert schema_defaults(SCHEMA["$defs"]["experiment"])["measure"] == list(MEASURES)


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


def test_network_defaults_do_not_apply_to_records():
    config = changed("experiments/mine", {"records": RECORDS})
    config["defaults"] |= {"reproduction": True, "exits": {"shards": 3}, "sweep": {"points": 9}}
    own = configure(config, SCHEMA).experiment("mine")
    assert (own["reproduction"], own["exits"]["shards"], own["sweep"]["points"]) == (False, 1, 9)
    assert own["records"] == RECORDS
    assert configure(config, SCHEMA).experiment("digits")["records"] is None


@pytest.mark.parametrize(
    ("experiment", "run", "message"),
    [
        ({"records": RECORDS, "seed": 3}, "mine", "mine.seed: does not apply to an experiment w"),
        ({"records": RECORDS}, "mine@3", "run: mine@3: mine is made of records"),
        (
            {"measure": "external"},
            "mine",
            "mine.measure: external, which is for `records`",
        ),
        (
            {"measure": "given"},
            "mine",
            "mine.measure: given is called external now; rename it",
        ),
        ({"records": {"test": "x"}}, "mine", "mine.records: needs the key 'calibration'"),
        ({"records": RECORDS | {"class_names": ["a"]}}, "mine", "class_names: .* at least 2"),
        ({"records": "x.npz"}, "mine", "mine.records: 'x.npz', but must be a map or null"),
    ],
)
def test_mistakes_in_records_are_reported(experiment, run, message):
    config = changed("experiments/mine", experiment) | {"run": run}
    with pytest.raises(InputError, match=message) as error:
        configure(config, SCHEMA)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("empty", ["defaults", "experiments/digits", "experiments/new"])
def test_an_empty_key_means_no_settings(empty):
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
            r"must be a number \(YAML reads this as a string: write 0.005\)",
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
        ("experiments", {2024: {}}, "experiments: the key 2024 must be a string: put it in quotes"),
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
        ("experiments/a\n", {}, "experiments: the key .a.n. has a line break; remove it"),
        (
            "experiments/\x1b[31m",
            {},
            "experiments: the key .* has the character U.001B; remove it",
        ),
        ("experiments/" + "a" * 101, {}, "experiments: the key 'a{100}.* has more than 100 char"),
        ("experiments/é", {}, "experiments: 'é', but must be letters, digits"),
        ("run", "digits@01", "unknown experiment 'digits@01'; did you mean 'digits'?"),
        ("run", "digits@٣", "unknown experiment 'digits@٣'; did you mean 'digits'?"),
        ("run", "digits@3\n", "run: .digits@3.n. has a line break"),
        ("run", "digits@" + "9" * 3000, "run: unknown experiment .digits@9+"),
        ("run", "x" * 300_000, "run: unknown experiment 'xxx"),
        ("run", ["digits"] * 5000, "run: .*but must be a list of at most 1000"),
        ("experiments/digits/exits/shards", 10**8, "shards: 100000000, but must be at most 10000"),
        ("experiments/digits/sweep/shards", 10**8, "shards: 100000000, but must be at most 10000"),
        ("experiments/digits/replicates", 10**8, "replicates: 100000000, but must be at most 1000"),
        ("experiments/digits/sweep/points", 10**9, "points: 1000000000, but must be at most 10000"),
        (
            "defaults/selection",
            {"latency_budget_ms": 10**400},
            "latency_budget_ms: a number with m",
        ),
        ("defaults/selection", {"latency_budget_ms": -(10**400)}, "latency_budget_ms: a number wi"),
        ("defaults/description", datetime.date(2024, 1, 1), "YAML reads this as a date: .*quotes"),
        ("defaults/description", b"x", "YAML reads this as a bytes: .*quotes"),
        ("defaults/description", {"x"}, "YAML reads this as a set: .*quotes"),
        (
            "defaults/description",
            "\x1b[31m",
            "description: .* has the character U.001B; remove it",
        ),
        ("defaults/description", "\udcff", "description: .* has the character U.DCFF; remove it"),
        ("data_dir", "a\nb", "data_dir: 'a.nb' has a line break; remove it"),
        ("data_dir", "~nobody-of-that-name/x", "data_dir: .*: there is no such user"),
        ("defaults/network", {"name": "a.py:Net\n"}, "network.name: .* has a line break"),
        ("defaults/calibration", {"targets": [0.5] * 5000}, "targets: a list of 5,000, but must"),
        ("defaults/calibration", {"targets": [0.5, 0.5]}, "targets: .*non-unique"),
        (
            "defaults/exits/shards",
            "1e8",
            "a whole number .YAML reads this as a string: write 10{8}\\)",
        ),
        (
            "defaults/exits/shards",
            "3",
            "'3', but must be a whole number .a string: remove the quot",
        ),
        ("defaults/exits/shards", "1.5", "'1.5', but must be a whole number$"),
        ("defaults/sweep/cutoffs", ["1e-7"], "must be a number .* write 1.0e-07\\)"),
        ("defaults/sweep/cutoffs", ["1e300"], "must be a number .* write 1.0e.300\\)"),
        ("defaults/sweep/cutoffs", ["nan"], "'nan', but must be a number$"),
        ("defaults/sweep/cutoffs", "0.5", "'0.5', but must be a list$"),
        ("experiments", None, "experiments: {}, but must be a map of at least 1"),
        (
            "experiments/digits/selection/criterion",
            "most_accurate",
            "experiments.digits.selection.latency_budget_ms: not set, but must be a number",
        ),
        (
            "experiments/digits/network/checkpoint",
            3,
            "network.checkpoint: 3, but must be null or a string or a map",
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
def test_mistakes_are_reported_in_one_line(path, value, message):
    with limits(10), pytest.raises(InputError, match=message) as error:
        configure(changed(path, value), SCHEMA)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("text", ["1e8", "5e-3", "1e-7", "1.5e300", "3e2", "100.0", ".1"])
def test_the_suggested_number_is_read_as_a_number(text):
    with pytest.raises(InputError, match="YAML reads this as a string: write") as error:
        configure(changed("defaults/training/learning_rate", text), SCHEMA)
    advised = str(error.value).rpartition("write ")[2].rstrip(")")
    assert yaml.safe_load(advised) == float(text)
    configure(changed("defaults/training/learning_rate", yaml.safe_load(advised)), SCHEMA)


def test_recursive_values_are_refused_from_any_source():
    """Snakemake parses --configfile and --config before this project does."""
    endless = []
    endless += [endless, endless]
    own = {"a": 1}
    own["b"] = own
    laughs = ["lol"] * 9
    for _ in range(9):
        laughs = [laughs] * 9
    deep = []
    for _ in range(5000):
        deep = [deep]
    for value in (endless, own, laughs, deep, list(range(1000)) * 1000):
        config = {"run": "digits", "experiments": {"digits": {"description": value}}}
        with (
            limits(10),
            pytest.raises(InputError, match=r"digits.description.*(more than|list of)"),
        ):
            configure(config, SCHEMA)


def test_a_number_of_thousands_of_digits_is_reported():
    """Python refuses to print such numbers."""
    for number in (10**5000, -(10**5000)):
        with pytest.raises(InputError, match=r"sweep.points: a number with more than 18 digits"):
            configure(
                changed("defaults/sweep/points", 1) | {"defaults": {"sweep": {"points": number}}},
                SCHEMA,
            )


def test_duplicate_experiments_are_run_once():
    assert configure(changed("run", ["digits", "corrected", "digits"]), SCHEMA).run == [
        "digits",
        "corrected",
    ]


def test_descriptions_may_have_several_lines():
    text = "One.\n\tTwo, \N{SNOWMAN}\N{NO-BREAK SPACE}.\n"
    assert configure(changed("defaults/description", text), SCHEMA)


def test_the_largest_number_of_experiments_is_checked_quickly():
    config = {"run": "a0", "experiments": {f"a{i}": {} for i in range(1000)}}
    with limits(60):
        assert len(configure(config, SCHEMA).experiments) == 1000
    config["experiments"]["more"] = {}
    with pytest.raises(InputError, match=r"experiments: .*a map of at most 1000"):
        configure(config, SCHEMA)


TEXTS = {
    "experiments": {
        "mine": {
            "calibration": {"targets": ["0.65", {"drop": "1e-2"}]},
            "training": {"epochs": "3", "learning_rate": "5e-3", "mirror_symmetric": "true"},
            "network": {"checkpoint": "null", "name": "compact", "arguments": {"width": "3"}},
            "description": "7",
            "dataset": {"name": "npz", "path": "2020"},
        }
    }
}


def test_numbers_of_the_command_line_are_numbers():
    """Snakemake reads all values in maps of --config as strings (snakemake#3907)."""
    config = merge(CONFIG, TEXTS)
    found = configure(with_numbers(config, TEXTS, SCHEMA), SCHEMA).experiment("mine")
    assert found["calibration"]["targets"] == [0.65, {"drop": 0.01}]
    training = found["training"]
    assert (training["epochs"], training["learning_rate"]) == (3, 0.005)
    assert training["mirror_symmetric"] is True
    assert found["network"]["checkpoint"] is None
    assert found["network"]["arguments"] == {"width": 3}
    # Strings stay where the schema needs them.
    assert (found["description"], found["dataset"]["path"]) == ("7", "2020")
    assert config == merge(CONFIG, TEXTS)


def test_strings_in_the_file_stay_strings():
    config = merge(CONFIG, {"experiments": {"mine": {"training": {"epochs": "3"}}}})
    with pytest.raises(
        InputError, match=r"mine\.training\.epochs: '3', but must be a whole number"
    ):
        configure(with_numbers(config, {"run": "mine"}, SCHEMA), SCHEMA)


@pytest.mark.parametrize(
    "text", ["many", "0.5", "nan", ".inf", "2020-01-01", "[1]", "1e400", "'3'"]
)
def test_other_strings_are_refused_in_one_line(text):
    given = {"experiments": {"mine": {"training": {"epochs": text}}}}
    with pytest.raises(
        InputError, match=r"^config: experiments\.mine\.training\.epochs: "
    ) as error:
        configure(with_numbers(merge(CONFIG, given), given, SCHEMA), SCHEMA)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"quality": False}, r"experiments\.a: quality is called reliability now; rename it"),
        ({"replication": True}, r"experiments\.a: replication is called reproduction now"),
    ],
)
def test_a_renamed_setting_is_reported_with_its_new_name(own, message):
    with pytest.raises(InputError, match=message):
        configure({"run": "a", "experiments": {"a": own}}, SCHEMA)


def test_one_measure_is_a_list_of_one_and_a_list_stays_in_order():
    own = CONFIG["experiments"]["digits"]
    for given, expected in (
        ("entropy", ["entropy"]),
        (["entropy", "margin"], ["entropy", "margin"]),
    ):
        found = configure({"experiments": {"digits": own | {"measure": given}}}, SCHEMA)
        assert found.experiment("digits")["measure"] == expected
        assert found.experiment("digits@3")["measure"] == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("margins", "experiments.digits.measure: unknown value 'margins'; did you mean 'margin'?"),
        (["margins"], "experiments.digits.measure.0: unknown value 'margins'"),
        ([], "experiments.digits.measure: [], but must be a list of at least 1"),
        ("external", "experiments.digits.measure: external, which is for `records`"),
    ],
)
def test_a_measure_that_is_none_is_named(given, said):
    own = CONFIG["experiments"]["digits"] | {"measure": given}
    with pytest.raises(InputError) as error:
        configure({"experiments": {"digits": own}}, SCHEMA)
    assert said in str(error.value)
