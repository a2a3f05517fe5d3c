"""Steps on external records keep one piece of the logits in memory at a time.

`tests/large/test_large_records.py` measures a run of 1 GB a split. Here pieces are made small, so
that a stage that held all logits, even once, would stand out.
"""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import calibration
import records_costs
import records_describe
import records_import
import reliability
import sweep
import temperature
from early_exit.io.files import read_json
from early_exit.records import parquet as records_parquet
from early_exit.records import table as records_table
from early_exit.records.external import columns as foreign_columns
from early_exit.records.external.read import open_external

SAMPLES, EXITS, CLASSES = 3000, 8, 100
# In single precision.
WHOLE = 4 * SAMPLES * EXITS * CLASSES


class Inputs(dict):
    """A job's files, by name, as Snakemake has them."""

    def __getattr__(self, name):
        return self[name]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two splits of logits in half precision, and costs."""
    for module in (records_table, records_parquet):
        monkeypatch.setattr(module, "VALUES", 40_000)
    # What is read ahead of each column, which would be more than these.
    for module in (foreign_columns, records_parquet):
        monkeypatch.setattr(module, "BUFFER", 2**14)
    for seed, split in enumerate(("calibration", "test")):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, CLASSES, SAMPLES)
        logits = rng.normal(size=(SAMPLES, EXITS, CLASSES))
        logits[np.arange(SAMPLES), :, labels] += np.linspace(1, 4, EXITS)
        np.savez(tmp_path / f"{split}.npz", logits=logits.astype(np.float16), labels=labels)
        lists = {f"logits_{k + 1}": [*logits[:, k].astype(np.float32)] for k in range(EXITS)}
        pd.DataFrame({"label": labels} | lists).to_parquet(
            tmp_path / f"external_{split}.parquet", use_dictionary=False, data_page_size=2**14
        )
    rows = "".join(f"{k},{k}000000\n" for k in range(1, EXITS + 1))
    (tmp_path / "costs.csv").write_text(f"exit,macs\n{rows}")
    return tmp_path


def peak(main, **job) -> int:
    """Peak memory of a script's `main` in bytes, arrays and Parquet."""
    snakemake = SimpleNamespace(
        **{key: Inputs(value) for key, value in job.items()},
        log=["log"],
    )
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        main(snakemake)
        return tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)


@pytest.mark.parametrize("given", ["{}.npz", "external_{}.parquet"])
def test_no_step_keeps_all_logits_in_memory(folder, given):
    files = {split: str(folder / given.format(split)) for split in ("calibration", "test")}
    costs, manifest = str(folder / "costs.csv"), str(folder / "manifest.json")
    peaks = {}
    peaks["describe"] = peak(
        records_describe.main,
        input=files | {"costs": costs},
        output={"manifest": manifest},
        params={"class_names": None, "measure": ["margin"], "exit_rule": "below"},
    )
    assert read_json(manifest)["remarks"] == []
    own = {split: str(folder / f"{split}.parquet") for split in files}
    for split, path in own.items():
        peaks[f"import {split}"] = peak(
            records_import.main,
            input={"manifest": manifest, "records": files[split]},
            output={"records": path},
            wildcards={"split": split},
        )
    priced = {"costs": str(folder / "cost.csv"), "machine": str(folder / "cost.json")}
    peak(records_costs.main, input={"manifest": manifest, "table": costs}, output=priced)
    scaled = {"temperatures": str(folder / "temperatures.json")}
    peaks["temperature"] = peak(
        temperature.main, input={"records": own["calibration"]}, output=scaled
    )
    peaks["exits"] = peak(
        reliability.main,
        input={"records": own["test"]} | scaled,
        output={name: str(folder / f"{name}.csv") for name in ("exits", "bins")},
        params={"measures": ["entropy", "margin"]},
    )
    seen = {"measure": ["margin"], "exit_rule": "below", "delta": 0.1, "cost": "macs"}
    peaks["calibration"] = peak(
        calibration.main,
        input={"records": own["calibration"]} | priced | scaled,
        output={"points": str(folder / "uniform.csv")},
        params=seen | {"targets": [0.5]},
        wildcards={"method": "uniform"},
    )
    peaks["sweep"] = peak(
        sweep.main,
        input={"records": own["test"]} | priced | scaled,
        output={name: str(folder / f"{name}.csv") for name in ("sweep", "cutoffs")},
        params=seen | {"sweep": {"points": 10, "cutoffs": []}},
    )
    assert pq.ParquetFile(own["test"]).num_row_groups == SAMPLES // (40_000 // (EXITS * CLASSES))
    shares = {stage: round(bytes / WHOLE, 2) for stage, bytes in peaks.items()}
    assert max(shares.values()) < 0.7, shares


def test_parquet_is_not_read_ahead(folder):
    """Its columns are in one row group; what pyarrow reads ahead is not counted above."""
    path = folder / "external_test.parquet"
    before, most = pa.total_allocated_bytes(), 0
    for _ in open_external(path).pieces():
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 0.3 * WHOLE
