import io

import numpy as np
import pandas as pd
import pytest

from early_exit.errors import InputError
from early_exit.io.files import write_table
from early_exit.policy.costs import read_costs
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.policy import Policy, full_network
from helpers import make_costs

TABLE = """part,exit,batch_size,macs,ms_per_sample,ms_low,ms_high
stage,1,1,100,3.0,1,1
head,1,1,10,0.3,1,1
overhead,1,1,0,0.05,1,1
stage,2,1,200,4.0,1,1
head,2,1,20,0.4,1,1
overhead,2,1,0,0.05,1,1
stage,1,4,100,1.0,1,1
head,1,4,10,0.1,1,1
overhead,1,4,0,0.01,1,1
stage,2,4,200,2.0,1,1
head,2,4,20,0.2,1,1
overhead,2,4,0,0.01,1,1
"""


def write(path, text):
    write_table(path, pd.read_csv(io.StringIO(text)))


def test_costs_add_up_stage_by_stage_with_the_heads_on_the_way():
    policy = Policy(ExitCriterion(), (0.5, 0.5))
    assert make_costs().macs(policy.heads_run).tolist() == [11e6, 33e6, 66e6]
    assert make_costs().ms(policy.heads_run) == pytest.approx([1.1, 3.3, 6.6])


def test_a_head_without_exits_is_free():
    policy = Policy(ExitCriterion(), (-np.inf, 0.5))
    assert make_costs().macs(policy.heads_run).tolist() == [10e6, 32e6, 65e6]
    whole = full_network(ExitCriterion("entropy", ExitRule.ABOVE), 3)
    assert make_costs().macs(whole.heads_run)[-1] == 63e6


def test_read_from_a_table(tmp_path):
    path = tmp_path / "cost.csv"
    write(path, TABLE)
    costs = read_costs(path, 4)
    assert costs.exits == 2
    assert costs.stage_macs.tolist() == [100, 200]
    assert costs.batch_sizes.tolist() == [1, 4]
    assert costs.head_ms.tolist() == [[0.3, 0.4], [0.1, 0.2]]


def test_a_batch_that_thins_out_is_dearer_a_sample(tmp_path):
    path = tmp_path / "cost.csv"
    write(path, TABLE)
    costs = read_costs(path, 4)
    policy = Policy(ExitCriterion(), (0.5,))
    # All samples reach stage 1 in batches of 4: 1.0 + 0.1 + 0.01. Half reach stage 2, in batches of
    # 2, half-way between 1 and 4 on a logarithmic scale: (4.45 + 2.21) / 2.
    expected = 1.11 + 0.5 * (4.45 + 2.21) / 2
    assert costs.predicted_ms(policy.heads_run, np.array([0.5, 0.5])) == pytest.approx(expected)
    # A quarter and less come one by one.
    thin = costs.predicted_ms(policy.heads_run, np.array([[0.75, 0.25], [0.9, 0.1]]))
    assert thin == pytest.approx([1.11 + 0.25 * 4.45, 1.11 + 0.1 * 4.45])
    # With regrouping batches stay full: 1.11 + 0.5 * 2.21.
    regrouped = read_costs(path, 4, regroup=4)
    assert regrouped.predicted_ms(policy.heads_run, np.array([0.5, 0.5])) == pytest.approx(
        1.11 + 0.5 * 2.21
    )
    # No early exits: the cost of full batches.
    whole = full_network(ExitCriterion(), 2)
    assert costs.predicted_ms(whole.heads_run, np.array([0.0, 1.0])) == pytest.approx(1.0 + 2.21)
    assert costs.ms(whole.heads_run)[-1] == pytest.approx(3.21)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("head,2,4", "head,3,4"),
        lambda text: text.replace("head,2,4", "head,2,2"),
        lambda text: text.replace("2.0,", "nan,"),
        lambda text: text.replace("200,", "-200,"),
        lambda text: text.replace("ms_per_sample", "ms"),
        lambda text: text.splitlines()[0] + "\n",
    ],
)
def test_a_broken_table_is_named(tmp_path, change):
    path = tmp_path / "cost.csv"
    write(path, change(TABLE))
    with pytest.raises(InputError, match=r"cost\.csv"):
        read_costs(path, 4)


def test_a_policy_for_other_exits_is_refused():
    with pytest.raises(InputError, match="made for 2 exits, but the costs are for 3"):
        make_costs().macs([False, True])
