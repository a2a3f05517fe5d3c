import doctest

import numpy as np
import pytest

from early_exit.errors import InputError
from early_exit.policy import criterion as criterion_module
from early_exit.policy import policy as policy_module
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.policy import Policy, full_network
from helpers import make_records


@pytest.mark.parametrize("module", [criterion_module, policy_module])
def test_the_examples_of_the_docstrings(module):
    names = {"np": np, "ExitCriterion": ExitCriterion}
    found = doctest.testmod(module, extraglobs=names)
    assert found.attempted > 0
    assert found.failed == 0


def test_a_rule_is_accepted_by_its_name():
    assert ExitCriterion("margin", "above") == ExitCriterion("margin", ExitRule.ABOVE)
    with pytest.raises(InputError, match="unknown exit rule 'beside'; it must be below or above"):
        ExitCriterion("margin", "beside")


def test_it_is_written_as_it_can_be_read():
    for own in (ExitCriterion(), ExitCriterion("margin", "above", (0.5, 2))):
        assert eval(repr(own)) == own
        for policy in (Policy(own, (0.25,)), full_network(own, 2)):
            assert eval(repr(policy)) == policy


def test_logits_are_needed_for_what_records_do_not_hold():
    assert not ExitCriterion().needs_logits
    assert ExitCriterion("margin").needs_logits
    assert ExitCriterion(temperatures=(1.0, 2.0)).needs_logits


def test_it_computes_the_uncertainties_of_records():
    records, scaled = make_records(), ExitCriterion(temperatures=(1.0, 4.0, 1.0))
    plain, hotter = ExitCriterion().uncertainty(records), scaled.uncertainty(records)
    np.testing.assert_array_equal(hotter[:, [0, 2]], plain[:, [0, 2]])
    assert (hotter[:, 1] > plain[:, 1]).all()


def test_words_are_thresholds():
    for rule in ExitRule:
        policy = Policy(ExitCriterion(rule=rule), ("never", 0.5, "always"))
        assert policy.thresholds == (rule.never, 0.5, rule.always)


@pytest.mark.parametrize("bad", ["sometimes", None, "0.5", float("nan")])
def test_what_is_no_threshold_is_named(bad):
    with pytest.raises(InputError, match=r'not a number.*numbers, "never" or "always"'):
        Policy(ExitCriterion(), (bad,))
