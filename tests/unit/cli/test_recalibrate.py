"""`early-exit recalibrate` on the files of a made-up experiment, without a network."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_main import SCRIPT

from early_exit.analysis.selection import Criterion, choose
from early_exit.api.public import load
from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.targets import KINDS, QUALITIES, Target
from early_exit.cli import main as cli
from early_exit.cli.recalibrate import TARGETS
from early_exit.io.files import read_json, sha256, write_json, write_table
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.description import describe
from early_exit.policy.policy import Policy, full_network
from early_exit.records.parquet import write_records
from early_exit.records.table import UNKNOWN, from_external, from_logits
from helpers import PROVENANCE, make_costs, make_records

COSTS = make_costs()


def write_costs(path):
    parts = {"stage": COSTS.stage_macs, "head": COSTS.head_macs, "overhead": np.zeros(3)}
    rows = [
        {"part": part, "exit": k + 1, "batch_size": 8, "macs": m, "ms_per_sample": m / 1e7}
        for part, macs in parts.items()
        for k, m in enumerate(macs)
    ]
    write_table(path, pd.DataFrame(rows), {"network": "n" * 64, "data": "d" * 64})


def experiment(folder, method="coordinate", target=None, measure="entropy"):
    """The files of an experiment, as the workflow makes them; the path of its policy."""
    target = target or Target("macs_share", 0.6)
    calibration = make_records(samples=400, seed=1)
    points = calibrate(method, calibration, COSTS, [target], ExitCriterion(measure))
    chosen = choose(points, Criterion("ratio")) | {"optimism": 0.01}
    write_records(folder / "exits/calibration.parquet", calibration)
    write_costs(folder / "cost/cost.csv")
    costs = sha256(folder / "cost/cost.csv")
    identity = PROVENANCE | {"costs": costs}
    machine = {"batch_size": 8, "regroup": 0, "identity": identity}
    write_json(folder / "cost/cost.json", machine)
    manifest = {"dataset": "made", "settings": {}, "digest": "d" * 64, "class_names": list("abcd")}
    write_json(folder / "data/manifest.json", manifest | {"shape": [3, 2, 2]})
    content = describe(chosen, calibration, COSTS, {}, "net", manifest, "macs")
    write_json(folder / "selection/policy.json", content | {"identity": identity})
    return folder / "selection/policy.json"


def new_records(path, samples=300, labels=300, scale=0.6, seed=2):
    """Records of less certain samples, of which the first ``labels`` have a label."""
    records = make_records(samples=samples, seed=seed)
    logits = np.float32(scale) * records.logits
    label = np.where(np.arange(samples) < labels, records.label, UNKNOWN)
    provenance = {"network": "n" * 64, "split": "new"}
    made = from_logits(records.index, label, logits, provenance, whole=False, labelled=False)
    write_records(path, made)
    return path


def recalibrate(policy, records, *more):
    return cli.main(["recalibrate", "--policy", str(policy), "--records", str(records), *more])


def check(policy, records):
    return cli.main(["check", "--policy", str(policy), "--records", str(records)])


def test_without_labels_shares_and_cost_are_those_of_calibration(tmp_path, capsys):
    policy = experiment(tmp_path / "X")
    before, old = policy.read_bytes(), read_json(policy)
    new = new_records(tmp_path / "new.parquet", labels=0)
    assert check(policy, new) == cli.DRIFT
    capsys.readouterr()
    assert recalibrate(policy, new) == cli.FINE
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith(
        "exit shares of calibration kept on 300 new samples, without labels"
    )
    assert "accuracy" not in shown.out
    output = tmp_path / "X/recalibrated/policy.json"
    assert f"written: {output}, and the records beside it, policy.parquet" in shown.out
    made = read_json(output)
    np.testing.assert_allclose(
        made["calibration"]["exit_shares"], old["calibration"]["exit_shares"], atol=1 / 300
    )
    assert made["calibration"]["macs"] == pytest.approx(old["calibration"]["macs"], rel=0.01)
    assert made["calibration"]["accuracy"] is None
    assert made["recalibrated"]["records_sha256"] == sha256(new)
    assert made["recalibrated"]["policy_sha256"] == sha256(policy)
    assert policy.read_bytes() == before
    # The reference is now what it was recalibrated on; with labels, its accuracy is not known.
    assert check(output, new) == cli.FINE
    assert check(output, new_records(tmp_path / "known.parquet", seed=3)) == cli.FINE
    assert check(output, tmp_path / "X/exits/calibration.parquet") == cli.DRIFT
    assert "\n    accuracy " not in capsys.readouterr().out


def test_with_labels_the_target_is_met_again(tmp_path, capsys):
    policy = experiment(tmp_path / "X", target=Target("accuracy", 0.7))
    new = new_records(tmp_path / "new.parquet", samples=500, labels=300)
    assert recalibrate(policy, new) == cli.FINE
    shown = capsys.readouterr().out
    assert shown.startswith(
        "found anew by coordinate for 0.7 on 300 new samples with labels (of 500)"
    )
    assert "on the new samples" in shown
    output = tmp_path / "X/recalibrated/policy.json"
    made = read_json(output)
    assert made["calibration"]["accuracy"] >= 0.7
    assert made["calibration"]["samples"] == 300
    assert made["recalibrated"]["by"] == "labels"
    assert Policy.load(output) == Policy.from_json(made["policy"])
    assert check(output, new) == cli.FINE
    # Moved to where the workflow has it, it is the policy of the run.
    assert recalibrate(policy, new, "--output", str(policy)) == cli.FINE
    run = load(tmp_path / "X")
    assert run.policy.thresholds == Policy.load(output).thresholds
    assert run.policy.target == Target("accuracy", 0.7)


def test_another_target_may_be_given(tmp_path, capsys):
    policy = experiment(tmp_path / "X", target=Target("accuracy", 0.7))
    content = read_json(policy)
    write_json(policy, content | {"target": 0.999})
    new = new_records(tmp_path / "new.parquet", samples=500)
    output = tmp_path / "X/recalibrated/policy.json"
    assert recalibrate(policy, new) == cli.FINE
    assert "so no sample exits early (see --target)" in capsys.readouterr().out
    assert recalibrate(policy, new, "--target", "macs_share=0.5") == cli.FINE
    assert "for 50 % of MACs on 300 new samples" in capsys.readouterr().out
    made = read_json(output)
    assert (made["target_kind"], made["target"]) == ("macs_share", 0.5)
    assert made["calibration"]["macs"] <= 0.5 * made["full_network"]["macs"]
    # Of the new policy it is the own target.
    assert recalibrate(output, new, "--output", str(output)) == cli.FINE
    assert read_json(output)["policy"] == made["policy"]
    unknown = new_records(tmp_path / "unknown.parquet", labels=0)
    capsys.readouterr()
    assert "0 samples with labels" in refused(capsys, policy, unknown, "--target", "drop=0.01")


@pytest.mark.parametrize("wrong", ["speed=2", "accuracy=1", "drop=-0.1", "macs", "ms=x", "ms=nan"])
def test_a_target_that_is_none_is_a_wrong_call(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        recalibrate("p.json", "r.parquet", "--target", wrong)
    assert ended.value.code == cli.NOTHING_DONE
    assert "argument --target" in capsys.readouterr().err


def test_the_kinds_of_targets_are_those_of_calibration():
    assert tuple(KINDS) == TARGETS
    assert TARGETS[:2] == QUALITIES


def test_on_the_calibration_records_nothing_changes(tmp_path, capsys):
    policy = experiment(tmp_path / "X", measure="margin")
    records = tmp_path / "X/exits/calibration.parquet"
    old = read_json(policy)
    for more in ((), ("--keep-shares",)):
        assert recalibrate(policy, records, *more) == cli.FINE
        made = read_json(tmp_path / "X/recalibrated/policy.json")
        for key in ("exit_shares", "macs"):
            assert made["calibration"][key] == pytest.approx(old["calibration"][key])
        assert check(tmp_path / "X/recalibrated/policy.json", records) == cli.FINE
    assert made["recalibrated"]["by"] == "exit shares"
    assert "without labels" in capsys.readouterr().out


def test_a_certificate_is_made_anew_or_lost(tmp_path, capsys):
    policy = experiment(tmp_path / "X", "certified", Target("accuracy", 0.7))
    new = new_records(tmp_path / "new.parquet")
    output = tmp_path / "X/recalibrated/policy.json"
    assert recalibrate(policy, new) == cli.FINE
    assert "; certified: error at most 0.3, delta 0.1\n" in capsys.readouterr().out
    assert read_json(output)["certificate"]["samples"] == 300
    assert check(output, new) == cli.FINE
    assert "promise" in capsys.readouterr().out
    assert recalibrate(policy, new, "--keep-shares") == cli.FINE
    assert "; the certificate holds no longer\n" in capsys.readouterr().out
    assert read_json(output)["certificate"] is None
    impossible = experiment(tmp_path / "Y", "certified", Target("accuracy", 0.7))
    content = read_json(impossible)
    write_json(impossible, content | {"target": 0.999})
    assert recalibrate(impossible, new) == cli.FINE
    shown = capsys.readouterr().out
    assert "; no thresholds reach that on them, so no sample exits early" in shown
    assert "; nothing could be certified\n" in shown


def test_the_old_policy_is_overwritten_only_if_named(tmp_path, capsys):
    policy = experiment(tmp_path / "X")
    new = new_records(tmp_path / "new.parquet")
    assert recalibrate(policy, new) == cli.FINE
    made = tmp_path / "X/recalibrated/policy.json"
    content = made.read_bytes()
    capsys.readouterr()
    assert recalibrate(made, new) == cli.NOTHING_DONE
    told = capsys.readouterr().err
    assert told == (
        f"early-exit: {made}: would be overwritten; name a file; this one: --output {made}\n"
    )
    assert made.read_bytes() == content
    line = refused(capsys, policy, made.with_suffix(".parquet"))
    assert "would be replaced by the records of the new policy" in line
    assert recalibrate(made, new, "--output", str(made)) == cli.FINE
    assert read_json(made)["recalibrated"]["policy_sha256"] != sha256(policy)


def test_it_runs_from_within_the_policys_folder(tmp_path, monkeypatch):
    policy = experiment(tmp_path / "X")
    new = new_records(tmp_path / "new.parquet")
    monkeypatch.chdir(policy.parent)
    assert recalibrate("policy.json", new) == cli.FINE
    assert sorted(p.name for p in (tmp_path / "X/recalibrated").iterdir()) == [
        "policy.json",
        "policy.parquet",
    ]


def test_from_another_folder_the_other_files_are_not_found(tmp_path, capsys):
    policy = experiment(tmp_path / "X")
    new = new_records(tmp_path / "new.parquet")
    assert recalibrate(policy, new, "--output", str(tmp_path / "elsewhere.json")) == cli.FINE
    shown = capsys.readouterr().out
    assert "predict and check find the network only from a folder beside" in shown
    # Its own reference is beside it.
    assert check(tmp_path / "elsewhere.json", new) == cli.FINE


def test_a_reference_that_is_not_the_policys_is_refused(tmp_path, capsys):
    policy = experiment(tmp_path / "X")
    new = new_records(tmp_path / "new.parquet")
    output = tmp_path / "X/recalibrated/policy.json"
    assert recalibrate(policy, new) == cli.FINE
    reference = output.with_suffix(".parquet")
    new_records(reference, seed=7)
    capsys.readouterr()
    assert check(output, new) == cli.NOTHING_DONE
    assert f"{reference}: not the records that {output} was recalibrated on" in (
        capsys.readouterr().err
    )
    reference.unlink()
    assert check(output, new) == cli.NOTHING_DONE
    assert f"{reference}: missing; it has the records" in capsys.readouterr().err


def test_external_uncertainties_are_recalibrated_too(tmp_path, capsys):
    """With costs in a unit of the user's, and whether each exit is correct instead of labels."""
    policy = experiment(tmp_path / "X", measure="entropy")
    calibration = make_records(samples=400, seed=1)
    external = from_external(
        calibration.index, -5 + calibration.uncertainty, calibration.correct, PROVENANCE
    )
    points = calibrate(
        "coordinate", external, COSTS, [Target("macs_share", 0.6)], ExitCriterion("external")
    )
    content = describe(choose(points, Criterion("ratio")), external, COSTS, {})
    identity = read_json(policy)["identity"]
    write_json(policy, content | {"identity": identity})
    manifest = {"dataset": "records", "class_names": None, "digest": "d" * 64}
    write_json(tmp_path / "X/data/manifest.json", manifest | {"cost_unit": "relative"})
    np.savez(tmp_path / "new.npz", uncertainty=-4.8 + calibration.uncertainty)
    assert recalibrate(policy, tmp_path / "new.npz") == cli.FINE
    assert "mean cost: cost " in capsys.readouterr().out
    output = tmp_path / "X/recalibrated/policy.json"
    made = Policy.load(output)
    np.testing.assert_allclose(
        np.subtract(made.thresholds, Policy.load(policy).thresholds), 0.2, atol=0.02
    )
    assert check(output, tmp_path / "new.npz") == cli.FINE
    known = {"uncertainty": -4.8 + calibration.uncertainty, "correct": calibration.correct}
    np.savez(tmp_path / "known.npz", **known)
    assert recalibrate(policy, tmp_path / "known.npz") == cli.FINE
    assert read_json(output)["calibration"]["accuracy"] is not None


def refused(capsys, *call) -> str:
    assert recalibrate(*call) == cli.NOTHING_DONE
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    return line


def test_errors_are_one_line_and_write_nothing(tmp_path, capsys):
    policy = experiment(tmp_path / "X")
    new = new_records(tmp_path / "new.parquet")
    there = sorted(tmp_path.rglob("*"))
    assert refused(capsys, tmp_path / "gone.json", new).endswith(
        "there is no such file; give results/X/selection/policy.json"
    )
    assert "gone.parquet" in refused(capsys, policy, tmp_path / "gone.parquet")
    assert "end it with .json" in refused(capsys, policy, new, "--output", str(tmp_path / "out"))
    # The records beside the output replace neither the new ones nor others.
    own = tmp_path / "X/exits/calibration.json"
    for output in (new.with_suffix(".json"), own):
        assert (
            f"{output.with_suffix('.parquet')}: would be replaced by the records of the new policy"
            in refused(capsys, policy, new, "--output", str(output))
        )
    # Of the policy's network; enough of them, with as many exits.
    few = new_records(tmp_path / "few.parquet", samples=50)
    assert f"{few}: 50 samples with labels, but at least 100 are needed; record more" in refused(
        capsys, policy, few
    )
    some = new_records(tmp_path / "some.parquet", labels=99)
    assert "99 samples with labels, but at least 100 are needed; label more, or keep" in refused(
        capsys, policy, some
    )
    other = make_records(samples=200)
    strange = replace(other, provenance=other.provenance | {"network": "x" * 64})
    write_records(tmp_path / "other.parquet", strange)
    assert "made with another network than" in refused(capsys, policy, tmp_path / "other.parquet")
    shorter = make_records(samples=200, exits=2)
    write_records(tmp_path / "short.parquet", shorter)
    assert "records of 2 exits, but the policy has 3" in refused(
        capsys, policy, tmp_path / "short.parquet"
    )
    for name in ("few", "some", "other", "short"):
        (tmp_path / f"{name}.parquet").unlink()
    assert sorted(tmp_path.rglob("*")) == there


def test_the_full_network_has_nothing_to_recalibrate(tmp_path, capsys):
    policy = experiment(tmp_path / "X")
    content = read_json(policy)
    never = {"policy": full_network(ExitCriterion(), 3).to_json(), "method": "full_network"}
    write_json(policy, content | never | {"target": None, "target_kind": None})
    line = refused(capsys, policy, new_records(tmp_path / "new.parquet"))
    assert f"{policy}: is the full network, which has no thresholds and no target; choose" in line


def test_costs_of_another_measurement_are_refused(tmp_path, capsys):
    policy = experiment(tmp_path / "X")
    table = tmp_path / "X/cost/cost.csv"
    write_table(table, pd.read_csv(table, comment="#").iloc[::-1])
    line = refused(capsys, policy, new_records(tmp_path / "new.parquet"))
    assert f"{policy}: made with other costs than {table}" in line


def test_a_failure_while_writing_leaves_the_old_files(tmp_path, capsys, monkeypatch):
    policy = experiment(tmp_path / "X")
    new = new_records(tmp_path / "new.parquet")
    assert recalibrate(policy, new) == cli.FINE
    folder = tmp_path / "X/recalibrated"
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device", str(folder / "policy.json"))

    monkeypatch.setattr("early_exit.io.files.write_json", full)
    other = new_records(tmp_path / "other.parquet", seed=5)
    assert recalibrate(policy, other) == cli.NOTHING_DONE
    assert "No space left on device" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_the_file_is_as_the_page_says(tmp_path):
    """Every key of the new policy is in docs/deployment.md."""
    page = (SCRIPT.parents[1] / "docs/deployment.md").read_text()
    policy = experiment(tmp_path / "X")
    assert recalibrate(policy, new_records(tmp_path / "new.parquet")) == cli.FINE
    content = json.loads((tmp_path / "X/recalibrated/policy.json").read_text())
    for key in content["recalibrated"]:
        assert f"`recalibrated.{key}`" in page, key
    assert "`cost.unit`" in page
