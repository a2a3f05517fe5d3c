"""A job's inputs are opened by kind, and refused if their provenance differs."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from snakemake.iocontainers import InputFiles, Params

from early_exit.errors import InputError
from early_exit.io.files import sha256, write_json, write_table
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.records.parquet import write_records
from helpers import make_records
from job.inputs import Inputs
from job.record_inputs import RecordInputs, read_external

MADE_FROM = {"network": "n" * 64, "data": "d" * 64}
OTHER = {"network": "o" * 64, "data": "d" * 64}
MANIFEST = {"dataset": "digits", "settings": {"test": 5}, "digest": "d" * 64}


def records(made_from):
    own = make_records()
    return replace(own, provenance=own.provenance | made_from)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Records, costs, a table, a manifest and temperatures of one provenance."""
    monkeypatch.chdir(tmp_path)
    write_records("test.parquet", records(MADE_FROM | {"split": "test"}))
    rows = [
        {"part": part, "exit": exit, "batch_size": 4, "macs": 10 * exit, "ms_per_sample": 1.0}
        for exit in (1, 2, 3)
        for part in ("stage", "head", "overhead")
    ]
    write_table("cost.csv", pd.DataFrame(rows), MADE_FROM)
    machine = {"batch_size": 4, "regroup": 0}
    write_json("cost.json", machine | {"identity": MADE_FROM | {"costs": sha256("cost.csv")}})
    write_table("a.csv", pd.DataFrame({"x": [1]}), MADE_FROM | {"split": "calibration"})
    write_table("b.csv", pd.DataFrame({"x": [2]}), MADE_FROM | {"split": "calibration"})
    write_json("manifest.json", MANIFEST)
    write_json("temperatures.json", {"temperatures": [1.0, 2.0, 3.0], "identity": MADE_FROM})
    return tmp_path


def job(params=None, **files):
    return SimpleNamespace(input=InputFiles(fromdict=files), params=Params(fromdict=params or {}))


PRICED = {"records": "test.parquet", "costs": "cost.csv", "machine": "cost.json"}


def test_each_kind_is_opened(folder):
    files = PRICED | {"temperatures": "temperatures.json", "manifest": "manifest.json"}
    inputs = RecordInputs(job({"measure": ["entropy"]}, points=["a.csv", "b.csv"], **files))
    assert inputs.records().provenance["split"] == "test"
    assert inputs.described()["exits"] == inputs.records().exits
    assert sum(map(len, inputs.pieces())) == len(inputs.records())
    assert inputs.costs().batch_size == 4
    assert [table.x.tolist() for table in inputs.tables("points", ["x"])] == [[1], [2]]
    assert inputs.json("machine", ("batch_size",))["regroup"] == 0
    assert inputs.manifest["dataset"] == "digits"
    assert inputs.criterion() == ExitCriterion("entropy", ExitRule.BELOW, (1.0, 2.0, 3.0))


def test_results_are_written_with_their_provenance(folder):
    inputs = RecordInputs(job({}, points=["a.csv"], manifest="manifest.json", **PRICED))
    costs = {"costs": sha256("cost.csv")}
    assert inputs.provenance() == MADE_FROM | costs
    assert inputs.provenance("records") == MADE_FROM | {"split": "test"} | costs
    assert inputs.provenance("points")["split"] == "calibration"
    assert RecordInputs(job(records="test.parquet")).provenance() == MADE_FROM


ODD = {
    "cost.json": lambda path: write_json(path, {"identity": OTHER}),
    "a.csv": lambda path: write_table(path, pd.DataFrame({"x": [1]}), OTHER),
    "temperatures.json": lambda path: write_json(path, {"identity": OTHER}),
    "manifest.json": lambda path: write_json(path, MANIFEST | {"digest": "e" * 64}),
}


@pytest.mark.parametrize("odd", ODD)
def test_the_input_of_another_provenance_is_named(folder, odd):
    ODD[odd](odd)
    files = PRICED | {"temperatures": "temperatures.json", "manifest": "manifest.json"}
    with pytest.raises(InputError, match=rf"^{odd}: made with (another|other) ") as error:
        RecordInputs(job(points=["a.csv", "b.csv"], **files))
    assert str(error.value).endswith("; delete it and run again")


def test_a_cost_table_that_was_replaced_is_refused(folder):
    write_table("cost.csv", pd.DataFrame({"part": ["stage"]}), MADE_FROM)
    with pytest.raises(InputError, match=r"cost\.\w+: made with other costs than .*cost\.\w+"):
        RecordInputs(job(**PRICED))


def test_records_of_another_split_are_refused_before_they_are_read(folder):
    write_records("calibration.parquet", records(MADE_FROM | {"split": "test"}))
    with pytest.raises(InputError, match=r"calibration\.parquet: holds the split test, not cal"):
        RecordInputs(job(calibration="calibration.parquet"))


def test_a_manifest_of_other_settings_is_refused(folder):
    dataset = {"name": "digits", "test": 5}
    Inputs(job({"dataset": dataset}, manifest="manifest.json"))
    with pytest.raises(InputError, match="of another data set or split than the experiment's"):
        Inputs(job({"dataset": dataset | {"test": 6}}, manifest="manifest.json"))


def test_a_network_is_compared_when_it_is_loaded(folder):
    (folder / "network.safetensors").write_bytes(b"weights")
    own = {"network": sha256("network.safetensors"), "data": "d" * 64}
    write_table("a.csv", pd.DataFrame({"x": [1]}), own)
    files = {"network": "network.safetensors", "table": "a.csv"}
    inputs = Inputs(job({"trusted": ["mine"]}, **files))

    def load(path, trusted):
        assert (path, trusted) == ("network.safetensors", ["mine"])
        return "the network", {"data": data}

    data = "d" * 64
    assert inputs.network(load) == ("the network", {"data": data})
    assert inputs.provenance() == own
    data = "e" * 64
    with pytest.raises(InputError, match="made with other data than"):
        Inputs(job({"trusted": ["mine"]}, **files)).network(load)
    data = "d" * 64
    write_table("a.csv", pd.DataFrame({"x": [1]}), MADE_FROM)
    with pytest.raises(InputError, match="made with another network than"):
        Inputs(job({"trusted": ["mine"]}, **files)).network(load)


def test_other_networks_may_differ_but_for_their_data(folder):
    for name in ("one", "two"):
        (folder / f"{name}.safetensors").write_text(name)
    files = {"manifest": "manifest.json", "smaller": ["one.safetensors", "two.safetensors"]}
    inputs = Inputs(job({"trusted": []}, **files))
    found = [*inputs.other_networks("smaller", lambda path, _: (path, {"data": "d" * 64}))]
    assert [path for path, _ in found] == files["smaller"]
    with pytest.raises(InputError, match="made with other data than"):
        [*inputs.other_networks("smaller", lambda path, _: (path, {"data": "e" * 64}))]


def test_optional_inputs_may_be_missing(folder):
    inputs = RecordInputs(job({"measure": ["entropy"]}, temperatures=[], **PRICED))
    assert inputs.criterion() == ExitCriterion("entropy", ExitRule.BELOW)


def test_an_external_file_must_be_the_one_that_was_described(folder):
    described = MANIFEST | {"files": {"costs": sha256("cost.csv")}}
    write_json("manifest.json", described)
    manifest, provenance = read_external("manifest.json", "costs", "cost.csv")
    assert manifest["digest"] == provenance["network"] == provenance["data"]
    with pytest.raises(InputError, match=r"^a\.csv: not the file that manifest\.json describes"):
        read_external("manifest.json", "costs", "a.csv")
