import numpy as np
import pytest

from early_exit.cost_model import read_costs
from early_exit.errors import InputError
from early_exit.policy import ExitRule, Policy, whole_network
from helpers import make_costs

TABLE = """part,exit,macs,ms_per_sample,ms_low,ms_high
stage,1,100,1.0,1,1
head,1,10,0.1,1,1
stage,2,200,2.0,1,1
head,2,20,0.2,1,1
"""


def test_costs_add_up_stage_by_stage_with_the_heads_on_the_way():
    policy = Policy("entropy", ExitRule.BELOW, (0.5, 0.5))
    assert make_costs().macs(policy).tolist() == [11e6, 33e6, 66e6]
    assert make_costs().ms(policy) == pytest.approx([1.1, 3.3, 6.6])


def test_a_head_at_which_nobody_leaves_is_free():
    policy = Policy("entropy", ExitRule.BELOW, (-np.inf, 0.5))
    assert make_costs().macs(policy).tolist() == [10e6, 32e6, 65e6]
    whole = whole_network("entropy", ExitRule.ABOVE, 3)
    assert make_costs().macs(whole)[-1] == 63e6


def test_read_from_a_table(tmp_path):
    path = tmp_path / "cost.csv"
    path.write_text(TABLE)
    costs = read_costs(path)
    assert costs.exits == 2
    assert costs.stage_macs.tolist() == [100, 200]
    assert costs.head_ms.tolist() == [0.1, 0.2]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("head,2", "head,3"),
        lambda text: text.replace("2.0", "nan"),
        lambda text: text.replace("200", "-200"),
        lambda text: text.replace("ms_per_sample", "ms"),
        lambda text: text.splitlines()[0] + "\n",
        lambda text: "",
    ],
)
def test_a_broken_table_is_named(tmp_path, change):
    path = tmp_path / "cost.csv"
    path.write_text(change(TABLE))
    with pytest.raises(InputError, match=r"cost\.csv"):
        read_costs(path)


def test_a_policy_for_other_exits_is_refused():
    with pytest.raises(InputError, match="made for 2 exits, the costs are for 3"):
        make_costs().macs(whole_network("entropy", ExitRule.BELOW, 2))
