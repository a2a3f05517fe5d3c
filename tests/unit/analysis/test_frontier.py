"""The frontier is the same from one job per method as from one call."""

import numpy as np
import pandas as pd
import pytest

from early_exit.analysis.frontier import (
    joined,
    of_method,
    on_test,
    policies,
    references,
)
from early_exit.io.files import read_table, write_table
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import as_written
from early_exit.records.table import from_external
from helpers import make_costs, make_records

METHODS = ["uniform", "certified", "coordinate"]


def external(seed):
    rng = np.random.default_rng(seed)
    correct = rng.random((60, 3)) < [0.5, 0.7, 0.9]
    return from_external(np.arange(60), rng.random((60, 3)), correct, {})


@pytest.mark.parametrize("measure", ["entropy", "external"])
def test_separate_jobs_give_the_same_table(tmp_path, measure):
    records, test = (
        (external(0), external(1))
        if measure == "external"
        else (make_records(), make_records(seed=1))
    )
    own = records, make_costs(), ExitCriterion(measure)
    parts = [of_method(*own, method, 4, 0.1) for method in METHODS] + [references(*own)]
    paths = [tmp_path / f"{number}.csv" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        write_table(path, part)
    write_table(tmp_path / "joined.csv", joined([as_written(read_table(p, [])) for p in paths]))
    whole = policies(*own[:2], [own[2]], METHODS, 4, 0.1)
    write_table(tmp_path / "whole.csv", whole)
    found, expected = (read_table(tmp_path / f"{name}.csv", []) for name in ("joined", "whole"))
    pd.testing.assert_frame_equal(found, expected)
    same = [on_test(t, test, make_costs()) for t in (found, whole)]
    pd.testing.assert_frame_equal(*same)
