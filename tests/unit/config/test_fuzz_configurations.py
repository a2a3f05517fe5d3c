"""Fuzzed configurations: invalid YAML, oversized YAML and odd values.

What passes our check of the text, Snakemake parses; what it finds there is configured. Each step is
taken or refused in one line.
"""

import copy
import datetime
from pathlib import Path

import pytest
import yaml
from snakemake.common.configfile import load_configfile

from early_exit.config.configuration import configure
from early_exit.config.parse import read_configuration
from early_exit.config.scaffold import with_experiment
from fuzzing import CASES, generator, taken_or_refused

DOOR = "configurations"
ROOT = Path(__file__).parents[3]
SCHEMA = yaml.safe_load((ROOT / "scripts/early_exit/config/schema.yaml").read_text())
# Its first two experiments have an alias, lists, maps in both styles and folded text.
WHOLE = (ROOT / "config.yaml").read_text()
BASE = WHOLE[: WHOLE.index("  corrected:")]
TEMPLATE = (ROOT / "scripts/early_exit/cli/templates/records.yaml").read_text()

PIECES = [
    *(
        "&a ",
        "*a",
        "&published ",
        "*published",
        "<<: *published",
        "<<: *a",
        "&a {<<: *a}",
        "&x [*x]",
    ),
    *("!!python/object/apply:os.system [ls]", "!!python/tuple ", "!!set ", "!!binary ", "!!int "),
    *("!!omap ", "!!timestamp ", "!x ", "!!float ", "!!null ", "!", "!<tag:x> ", "!!str "),
    *(
        "9" * 400,
        "9" * 5000,
        "1e999",
        "-.inf",
        ".nan",
        "0x" + "f" * 90,
        "1:30:59",
        "0o7",
        "1_0",
        "1e8",
    ),
    *("2024-01-01", "2024-99-99", "2001-12-14t21:59:43.10-05:00", "yes", "~", "=", "null", "on"),
    *("\t", "\n", "\r", "\r\n", "\x00", "\x1b[31m", "\x85", "\u2028", "\ufeff", "\U0001f600", "٣"),
    *("{", "}", "[", "]", ",", ":", ": ", "? ", "- ", "|", ">", "'", '"', "#", "%", "@", "`", "\\"),
    *("[" * 40, "{a: " * 40, "[" * 2000, "---\n", "...\n", "%YAML 1.1\n", "__use_yte__: true\n"),
    *(
        "run: digits\n",
        "experiments:\n",
        "  digits: {}\n",
        "  digits@3: {}\n",
        "  a@01: {}\n",
        "  - a\n",
    ),
    *("seed: 1\n", "    exits: {shards: 100000000}\n", '"\\ud800"', '"\\x00"', '"\\n"', "a" * 300),
    "x0: &x0 [a, a, a, a]\n"
    + "".join(f"x{i}: &x{i} [*x{i - 1}, *x{i - 1}]\n" for i in range(1, 60)),
]
BYTES = [b"\xff", b"\xe9", b"\xed\xa0\x80", b"\xf0\x9f", b"\0", b"\xc0\x80", b"\xef\xbb\xbf"]


def odd_text(rng) -> bytes:
    """The project's own configuration, or another, with mistakes in its text."""
    kind = rng.integers(12)
    if kind == 0:
        return rng.bytes(rng.integers(1, 200))
    if kind == 1:
        return "".join(PIECES[i] for i in rng.integers(len(PIECES), size=8)).encode()
    if kind == 2:
        return BASE.encode(["utf-16", "utf-16-le", "utf-32", "utf-8-sig"][rng.integers(4)])
    lines = BASE.splitlines(keepends=True)
    for _ in range(rng.integers(0, 3)):
        place, other = rng.integers(len(lines), size=2)
        # Swap, double, delete or indent a line.
        lines[place] = [lines[other], lines[place] * 2, "", "  " + lines[place]][rng.integers(4)]
    text = "".join(lines)
    for _ in range(rng.integers(0, 4)):
        place = rng.integers(len(text))
        cut = rng.integers(0, 4)
        text = text[:place] + PIECES[rng.integers(len(PIECES))] + text[place + cut :]
    content = text.encode()
    if kind == 3:
        place = rng.integers(len(content))
        content = content[:place] + BYTES[rng.integers(len(BYTES))] + content[place:]
    if kind == 4:
        content = content[: rng.integers(len(content))]
    if kind == 5:
        content = content.replace(b"\n", [b"\r\n", b"\r", b"\n\n"][rng.integers(3)])
    return content


def configured(path):
    """Read a file as a run does: check, Snakemake's parser, configuration."""
    read_configuration(path)
    found = configure(load_configfile(path), SCHEMA)
    return [found.experiment(name) for name in found.run]


@pytest.mark.faults
def test_any_text_is_configured_or_refused_in_one_line(tmp_path, tally):
    path = tmp_path / "config.yaml"
    outcomes = {True: 0, False: 0}
    for case in range(CASES):
        path.write_bytes(odd_text(generator(DOOR, case)))
        _, line = taken_or_refused(configured, path, seconds=10)
        assert line is None or line.startswith(("config.yaml: ", "config: ")), (
            f"case {case}: {line}"
        )
        outcomes[line is None] += 1
        tally[f"fuzzed {DOOR}"] += 1
    # Neither is all that comes of it.
    assert min(outcomes.values()) > CASES / 50, outcomes


@pytest.mark.faults
def test_an_experiment_is_added_to_any_text_or_refused_in_one_line(tmp_path, tally):
    path = tmp_path / "config.yaml"
    for case in range(CASES // 3):
        rng = generator(f"{DOOR}: added", case)
        path.write_bytes(odd_text(rng))
        names = [
            "mine",
            "digits",
            "123",
            "a\n",
            "é",
            "a" * 200,
            "-a",
            "null",
            "a b",
            "",
            "a: &x [*x]",
        ]
        name = names[max(0, rng.integers(len(names) * 3) - 2 * len(names))]
        text, line = taken_or_refused(read_configuration, path, seconds=10)
        if line is None:
            text, line = taken_or_refused(with_experiment, text, name, TEMPLATE, SCHEMA, seconds=10)
        if line is None:
            assert name in yaml.safe_load(text)["experiments"]
            path.write_text(text)
            assert configured(path)
        tally[f"fuzzed {DOOR}"] += 1


def holding_itself():
    """A list and a map that do."""
    endless: list = []
    endless.append(endless)
    own: dict = {}
    own["a"] = own
    return [endless, own]


VALUES = [
    *(
        None,
        True,
        0,
        -1,
        1,
        3,
        1.0,
        0.5,
        1e308,
        float("nan"),
        float("inf"),
        2**63,
        10**5000,
        -(10**20),
    ),
    *(
        "",
        "x",
        "a\nb",
        "\x1b[31m",
        "\udcff",
        "x" * 300_000,
        "1e8",
        "5e-3",
        "nan",
        "١٢",
        "~nobody/x",
    ),
    *([], [None], [[]], ["a", 1], [0.5] * 3000, ["a"] * 3000, {}, {"a": None}, {1: 2}, {None: 1}),
    *({"a" * 300: 1}, {"a\n": 1}, {("a",): 1}, b"x", {1, 2}, (1, 2), datetime.date(2024, 1, 1), 1j),
    *holding_itself(),
]


def places(value, path=()):
    """Every path in the configuration."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, own in enumerate(value) if isinstance(value, list) else items:
        yield from places(own, (*path, key))


@pytest.mark.faults
def test_any_value_is_configured_or_refused_in_one_line(tally):
    config = yaml.safe_load(BASE)
    defaults = configure(config, SCHEMA).experiment("digits")
    # With every setting there is.
    config["experiments"]["digits"] = {k: v for k, v in defaults.items() if k != "records"}
    known = list(places(config))[1:]
    for case in range(CASES):
        rng = generator(f"{DOOR}: values", case)
        odd = copy.deepcopy(config)
        for _ in range(rng.integers(1, 4)):
            *parents, last = known[rng.integers(len(known))]
            place = odd
            try:
                for key in parents:
                    place = place[key]
                if rng.random() < 0.2:
                    last = ["unknwon", "a\n", 3, None, "é", "x" * 300][rng.integers(6)]
                place[last] = VALUES[rng.integers(len(VALUES))]
            except (LookupError, TypeError):
                # Another mistake has replaced this value.
                continue
        found, line = taken_or_refused(configure, odd, SCHEMA, seconds=10)
        assert line is None or line.startswith("config: "), f"case {case}: {line}"
        for name in found.run if found else ():
            assert found.experiment(name)["dataset"]["name"]
        tally[f"fuzzed {DOOR}"] += 1
