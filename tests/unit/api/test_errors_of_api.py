"""Bad input is an error of one line that names what is wrong and what would be right."""

import numpy as np
import pytest

import early_exit as ee
from api_runs import sample

LOGITS, LABELS = sample(60, 0)
MACS = [1e6, 2e6, 3e6]


def with_nan():
    logits = LOGITS.copy()
    logits[7, 1, 0] = np.nan
    return logits


def large():
    logits = LOGITS.copy()
    logits[3, 0, 0] = 1e300
    return logits


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ee.from_logits(LOGITS[0], LABELS, macs=MACS), r"expected \(N, K, C\)"),
        (lambda: ee.from_logits(LOGITS, LABELS[:-1], macs=MACS), r"labels: shape \(59,\)"),
        (lambda: ee.from_logits(LOGITS, LABELS + 0.5, macs=MACS), "not whole numbers"),
        (lambda: ee.from_logits(LOGITS, LABELS + 1, macs=MACS), "labels from 1 to 4"),
        (lambda: ee.from_logits(LOGITS, LABELS * 0, macs=MACS), "all 60 samples are of class 0"),
        (lambda: ee.from_logits(LOGITS[:0], LABELS[:0], macs=MACS), "no samples"),
        (lambda: ee.from_logits(LOGITS, ["a"] * 60, macs=MACS), "not numbers"),
        (lambda: ee.from_logits(with_nan(), LABELS, macs=MACS), "first sample 7 at exit 2"),
        (lambda: ee.from_logits(large(), LABELS, macs=MACS), "first sample 3 at exit 1"),
        (lambda: ee.from_logits(LOGITS, LABELS), "give macs, relative or ms"),
        (
            lambda: ee.from_logits(LOGITS, LABELS, macs=[1e6, 2e6]),
            r"macs: shape \(2,\) for 3 exits",
        ),
        (lambda: ee.from_logits(LOGITS, LABELS, macs=[3e6, 2e6, 1e6]), "must grow"),
        (
            lambda: ee.from_logits(LOGITS, LABELS, macs=MACS, relative=MACS),
            "relative costs and macs",
        ),
        (lambda: ee.from_logits(LOGITS, LABELS, macs=MACS, head_ms=MACS), "head_ms without ms"),
        (lambda: ee.from_logits(LOGITS, LABELS, macs=MACS, class_names=["a"]), "1 for 4 classes"),
        (lambda: ee.from_logits(LOGITS, LABELS, macs=MACS, test=LOGITS), "must be a pair"),
        (
            lambda: ee.from_logits(LOGITS, LABELS, macs=MACS, test=(LOGITS[:, :2], LABELS)),
            "test has 2 exits",
        ),
        (lambda: ee.from_logits(LOGITS, LABELS, macs=MACS, measure="entropie"), "mean entropy"),
        (lambda: ee.from_logits(LOGITS, LABELS, macs=MACS, exit_rule="up"), "below, above"),
        (lambda: ee.from_uncertainties([[0.1]], [[2]], macs=[1e6]), "booleans"),
        (lambda: ee.from_uncertainties([[np.inf]], [[1]], macs=[1e6]), "sample 0 at exit 1"),
        (lambda: ee.from_uncertainties([0.1], [1], macs=[1e6]), r"must be \(N, K\)"),
        (lambda: ee.load("nowhere"), "there is no such folder"),
    ],
)
def test_bad_input_for_a_run(make, message):
    with pytest.raises(ee.InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda run: run.calibrate("coordinat", drop=0.1), "did you mean coordinate"),
        (lambda run: run.calibrate("zzz", drop=0.1), "must be one of accuracy_target, certified"),
        (lambda run: run.calibrate(), "none is given; give exactly one of accuracy, error, drop"),
        (lambda run: run.calibrate(accuracy=0.9, drop=0.1), "accuracy and drop are given"),
        (lambda run: run.calibrate(accuracy=90), "between 0 and 1"),
        (lambda run: run.calibrate(drop=-0.1), "from 0 to less than 1"),
        (lambda run: run.calibrate(accuracy="high"), "'high' is not a number"),
        (lambda run: run.calibrate(macs=float("nan")), "greater than 0"),
        (lambda run: run.calibrate(macs=1e3), "the first exit takes 2 M MACs; raise the budget"),
        (lambda run: run.calibrate(ms=3), "has costs in macs alone"),
        (lambda run: run.calibrate(drop=0.1, cost="ms"), "has costs in macs alone"),
        (lambda run: run.calibrate(drop=0.1, cost="s"), "must be one of macs, ms"),
        (lambda run: run.calibrate("certified", drop=0.1, delta=2), "between 0 and 1"),
        (lambda run: run.calibrate("certified", macs_share=0.5), "takes an accuracy or a drop"),
        (lambda run: run.make_policy([0.1]), "1 for 3 exits; give 2"),
        (lambda run: run.make_policy(["often", 0.1]), "thresholds"),
        (lambda run: run.simulate("best"), "policy: str is not a policy"),
        (lambda run: run.simulate(), "this run has no chosen policy"),
        (lambda run: run.simulate(run.make_policy(0.5), "tests"), "did you mean test"),
        (lambda run: run.sweep(points=1), "at least 2"),
        (lambda run: run.sweep().plot(x="macs"), "cost or threshold"),
        (lambda run: run.frontier(["best"]), "there is no 'best'"),
        (lambda run: run.using(temperatures=[1.0]), "temperature"),
    ],
)
def test_bad_arguments_of_methods(run, ask, message):
    with pytest.raises(ee.InputError, match=message) as caught:
        ask(run)
    assert "\n" not in str(caught.value)


def test_no_test_split():
    run = ee.from_logits(LOGITS, LABELS, macs=MACS)
    for ask in (run.sweep, run.records, run.exit_accuracy):
        with pytest.raises(ee.InputError, match=r"give test=\(logits, labels\)"):
            ask("test")


def test_a_policy_for_another_number_of_exits(run):
    other = ee.from_logits(LOGITS[:, :2], LABELS, macs=MACS[:2]).make_policy(0.5)
    with pytest.raises(ee.InputError, match="made for 2 exits"):
        run.simulate(other)


def test_a_folder_above_names_the_runs_in_it(folder):
    with pytest.raises(ee.InputError, match=r"has small\)"):
        ee.load(folder.parent)
    with pytest.raises(ee.InputError, match=r"has small\)"):
        ee.load(folder.parent / "smal")


def test_missing_costs(folder):
    (folder / "cost" / "cost.csv").unlink()
    with pytest.raises(ee.InputError, match=r"cost.csv: missing"):
        ee.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"policy": 3}', '"text"'])
def test_files_that_contain_no_policy(tmp_path, text):
    path = tmp_path / "policy.json"
    path.write_text(text)
    with pytest.raises(ee.InputError, match=r"policy\.json") as caught:
        ee.Policy.load(path)
    assert "\n" not in str(caught.value)


def test_a_policy_of_a_workflow_that_was_edited(folder):
    path = folder / "selection" / "policy.json"
    path.write_text(path.read_text().replace("0.6", "0.7"))
    with pytest.raises(ee.InputError, match="edited or another file"):
        ee.Policy.load(path)
