"""Records in shards, and without logits: the same numbers as in one job."""

import pandas as pd
import pytest
import yaml

from conftest import SMALL

RECORDS = "results/small/exits/test.parquet"


def exits(project, **settings):
    """Change the experiment's settings for `exits`."""
    path = project.folder / "config.yaml"
    current = yaml.safe_load(path.read_text())
    current["experiments"]["small"]["exits"] = settings
    project.configure(**current)


def test_shards_joined_equal_one_job_to_the_byte(finished):
    before = finished.path("exits/test.parquet").read_bytes()
    exits(finished, shards=3)
    plan = finished.planned("exits")
    assert plan == {"record_shard": 6, "join_shards": 2, "exits": 1}
    finished.run("--cores", "2", RECORDS, check=True)
    assert finished.path("exits/test.parquet").read_bytes() == before
    assert {path.name for path in finished.path("exits").iterdir()} == {
        "calibration.parquet",
        "test.parquet",
    }
    # What was joined is known by what made the shards, though they are gone.
    assert finished.planned(RECORDS) == {}
    edited = "scripts/early_exit/inference/exits.py"
    finished.edit(edited, "torch.cat(logits)", "torch.cat([*logits])")
    assert set(finished.planned(RECORDS)) == {"record_shard", "join_shards"}


@pytest.mark.thorough
def test_a_sweep_in_shards_is_the_same_sweep(finished):
    names = ("sweep/test.csv", "sweep/test_cutoffs.csv")
    before = [untimed(finished.path(name)) for name in names]
    # In row groups so small that each shard has some.
    finished.edit("scripts/early_exit/records/parquet.py", "ROWS = 65_536", "ROWS = 64")
    finished.run("--cores", "2", RECORDS, check=True)
    sharded = SMALL | {"sweep": {"shards": 3}}
    finished.configure(run="small", experiments={"small": sharded})
    target = "results/small/sweep/test.csv"
    assert finished.planned(target)["sweep_shard"] == 3
    finished.run("--cores", "2", target, check=True)
    for name, table in zip(names, before, strict=True):
        pd.testing.assert_frame_equal(untimed(finished.path(name)), table)
    left = {path.name for path in finished.path("sweep").glob("test*")}
    assert left == {"test.csv", "test_cutoffs.csv"}
    assert finished.planned(target) == {}


def untimed(path):
    """A table without its times and its checksum."""
    return pd.read_csv(path, comment="#").drop(columns=["ms_per_sample"])


@pytest.mark.thorough
def test_more_shards_than_batches_are_refused(finished):
    exits(finished, shards=8)
    said = finished.run("--cores", "2", RECORDS).stderr
    assert "exits.shards: 8, but a split of 200 samples has 7 batches of 32" in said
    assert finished.path("exits/test.parquet").exists()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ("reliability: false", False),
        ("reliability: true", True),
        ("{reliability: false, measure: margin}", True),
        ("{reliability: false, temperature_scaling: true}", True),
    ],
)
def test_logits_are_dropped_if_no_step_needs_them(finished, settings, kept):
    before = pd.read_parquet(finished.path("exits/test.parquet"))
    exits(finished, logits="needed")
    own = "\n".join(f"    {line}" for line in settings.strip("{}").split(", "))
    if "measure" in own:
        finished.edit("config.yaml", "    measure: entropy\n", "")
    finished.edit("config.yaml", "    training:", f"{own}\n    training:")
    if kept:
        # They are there already.
        assert not {"record_exits"} & set(finished.planned())
        return
    finished.run("--cores", "2", RECORDS, check=True)
    after = pd.read_parquet(finished.path("exits/test.parquet"))
    assert set(before) - set(after) == {f"logits_{k}" for k in range(1, 7)}
    pd.testing.assert_frame_equal(after, before[list(after)])
