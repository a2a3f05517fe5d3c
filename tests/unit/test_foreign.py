"""Records and cost tables from elsewhere: what is taken, and what is named."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from early_exit.calibration.certified import certified
from early_exit.cost_model import read_costs
from early_exit.errors import InputError
from early_exit.files import write_json, write_table
from early_exit.foreign import describe, read_foreign
from early_exit.foreign_costs import read_foreign_costs
from early_exit.foreign_files import holds_logits, side_file
from early_exit.policy import ExitRule, Policy, whole_network
from early_exit.records import read_records, write_records
from early_exit.samples import Samples
from early_exit.sweep import threshold_grid
from early_exit.targets import Target
from elsewhere import CLASSES, EXITS, logits_and_labels, uncertainty_and_correct
from helpers import make_records

FILES = {"calibration": "a" * 64, "test": "b" * 64, "costs": "c" * 64}


def npz(folder, **arrays):
    path = folder / "records.npz"
    np.savez(path, **arrays)
    return path


def parquet(folder, columns):
    path = folder / "records.parquet"
    pd.DataFrame(columns).to_parquet(path)
    return path


def with_logits(folder, **changed):
    logits, labels = logits_and_labels()
    return npz(folder, **{"logits": logits, "labels": labels} | changed)


def with_given(folder, **changed):
    uncertainty, correct = uncertainty_and_correct()
    return npz(folder, **{"uncertainty": uncertainty, "correct": correct} | changed)


def test_logits_from_npz(tmp_path):
    logits, labels = logits_and_labels()
    records = read_foreign(with_logits(tmp_path), "test")
    np.testing.assert_array_equal(records.logits, logits)
    np.testing.assert_array_equal(records.correct, logits.argmax(axis=2) == labels[:, None])
    assert records.index.tolist() == list(range(400))
    assert records.identity == {"split": "test", "classes": CLASSES, "exits": EXITS}


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_any_precision_is_taken(tmp_path, dtype):
    logits, _ = logits_and_labels()
    path = with_logits(tmp_path, logits=logits.astype(dtype), index=np.arange(1000, 1400))
    records = read_foreign(path)
    assert records.logits.dtype == np.float32
    assert records.index[0] == 1000


def test_an_uncertainty_of_its_own_makes_the_round_trip(tmp_path):
    uncertainty, correct = uncertainty_and_correct()
    records = read_foreign(with_given(tmp_path), "calibration")
    made_by = {"network": "n", "data": "d", "span": [-2.0, 0.0]}
    for found in (records, again(tmp_path, records, made_by)):
        # To the last digit: a threshold must mean the same to whoever takes the policy.
        np.testing.assert_array_equal(found.uncertainty("given"), uncertainty)
        np.testing.assert_array_equal(found.correct, correct)
        with pytest.raises(InputError, match="not the measure entropy; set measure to given"):
            found.uncertainty("entropy")
    columns = pq.read_schema(tmp_path / "calibration.parquet").names
    assert columns == ["index", "label"] + [
        f"{name}_{k}" for k in range(1, EXITS + 1) for name in ("uncertainty", "prediction")
    ]
    with pytest.raises(InputError, match="not the measure given; set measure to entropy"):
        make_records().uncertainty("given")


def again(folder, records, made_by):
    path = folder / "calibration.parquet"
    write_records(path, type(records)(**vars(records) | {"identity": records.identity | made_by}))
    return read_records(path)


def test_parquet_made_by_pandas(tmp_path):
    logits, labels = logits_and_labels()
    lists = {f"logits_{k + 1}": list(logits[:, k]) for k in range(EXITS)}
    expected = read_foreign(with_logits(tmp_path))
    found = read_foreign(parquet(tmp_path, {"label": labels} | lists))
    np.testing.assert_array_equal(found.logits, expected.logits)
    np.testing.assert_array_equal(found.entropy, expected.entropy)
    # The same without logits, and as right and wrong.
    columns = {"label": labels, "index": np.arange(400) + 7}
    right, exits = {}, range(1, EXITS + 1)
    for k in exits:
        columns[f"entropy_{k}"] = expected.entropy[:, k - 1]
        columns[f"prediction_{k}"] = expected.prediction[:, k - 1]
        right[f"uncertainty_{k}"] = expected.entropy[:, k - 1]
        right[f"correct_{k}"] = expected.correct[:, k - 1]
    bare = read_foreign(parquet(tmp_path, columns))
    assert (bare.logits, bare.classes, bare.index[0]) == (None, CLASSES, 7)
    np.testing.assert_array_equal(bare.correct, expected.correct)
    np.testing.assert_array_equal(read_foreign(parquet(tmp_path, right)).correct, expected.correct)


def test_a_file_of_this_project_says_itself_what_it_is(tmp_path):
    path = tmp_path / "calibration.parquet"
    write_records(path, make_records())
    records = read_foreign(path, "calibration")
    assert records.identity["network"] == make_records().identity["network"]
    np.testing.assert_array_equal(records.logits, make_records().logits)
    with pytest.raises(InputError, match="holds the split calibration, not test"):
        read_foreign(path, "test")
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"calibration\.parquet.*(damaged|cannot be read)"):
        read_foreign(path, "calibration")


def test_a_few_new_samples_need_not_show_every_class(tmp_path):
    """As `early-exit check` reads them: of a network whose classes are known."""
    columns = {"label": [0] * 5}
    for k in range(1, EXITS + 1):
        columns |= {f"entropy_{k}": [1.0] * 5, f"prediction_{k}": [0, 0, 1, 1, 0]}
    found = read_foreign(parquet(tmp_path, columns), classes=CLASSES, labelled=False)
    assert found.classes == CLASSES
    assert found.correct[:, 0].tolist() == [True, True, False, False, True]
    with pytest.raises(InputError, match=f"logits of {CLASSES} classes, but {CLASSES + 1} are"):
        read_foreign(with_logits(tmp_path), classes=CLASSES + 1, labelled=False)
    with pytest.raises(InputError, match="all 5 samples are of class 0"):
        read_foreign(parquet(tmp_path, columns), classes=CLASSES)


def test_without_labels_where_none_are_asked_for(tmp_path):
    logits, _ = logits_and_labels()
    path = npz(tmp_path, logits=logits)
    found = read_foreign(path, labelled=False)
    np.testing.assert_array_equal(found.entropy, read_foreign(with_logits(tmp_path)).entropy)
    assert (found.label == -1).all()
    assert not found.correct.any()
    path = npz(tmp_path, uncertainty=uncertainty_and_correct()[0])
    assert not read_foreign(path, labelled=False).correct.any()
    with pytest.raises(InputError, match="has uncertainty; records need logits"):
        read_foreign(path)


LOGITS, LABELS = logits_and_labels()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": LABELS[:-1]}, r"labels of shape \(399,\), but must be \(400,\)"),
        ({"labels": LABELS.astype(float)}, "labels of type float64, but must be whole numbers"),
        ({"labels": LABELS + 1}, "labels from 1 to 5, but 5 classes"),
        ({"labels": LABELS * 0}, "all 400 samples are of class 0"),
        ({"logits": LOGITS[:, 0]}, r"logits of shape \(400, 5\), but must be \(N, K, C\)"),
        ({"logits": LOGITS.astype(str)}, "logits of type <U32, but must be numbers"),
        ({"logits": LOGITS[..., :1]}, "1 classes; there must be 2 to 32767"),
        ({"logits": LOGITS * np.where(np.arange(400) == 9, np.nan, 1)[:, None, None]}, "row 9"),
        ({"logits": LOGITS.astype(float) * 1e39}, "too large for single precision"),
        ({"index": np.arange(3)}, r"index of shape \(3,\)"),
        ({"logits": np.array(3.0)}, "no samples; records need a row"),
        ({"labels": np.array([{}] * 400)}, "cannot be read"),
    ],
)
def test_a_mistake_in_logits_is_named(tmp_path, changed, message):
    with pytest.raises(InputError, match=message) as error:
        read_foreign(with_logits(tmp_path, **changed))
    assert str(error.value).startswith(str(tmp_path / "records.npz"))
    assert "\n" not in str(error.value)


UNSURE, RIGHT = uncertainty_and_correct()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"correct": RIGHT[:, 1:]}, r"correct of shape \(400, 3\), but must be \(400, 4\)"),
        ({"correct": RIGHT * 2}, "correct has values other than 0 and 1"),
        ({"uncertainty": UNSURE[:0], "correct": RIGHT[:0]}, "no samples; records need a row"),
        ({"uncertainty": np.where(UNSURE < -5, -np.inf, UNSURE)}, "are NaN or infinite, first"),
    ],
)
def test_a_mistake_in_what_is_given_is_named(tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        read_foreign(with_given(tmp_path, **changed))


def columns_of(**changed):
    found = {"label": [0, 1, 2]}
    for k in (1, 2):
        found |= {f"entropy_{k}": [0.1, 0.2, 0.3], f"prediction_{k}": [0, 1, 2]}
    return found | changed


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (columns_of(entropy_2=[0.1, 0.2, 5.0]), "lie between 0 and 1.099"),
        (columns_of(entropy_4=[0.1, 0.2, 0.3]), "has entropy_4, but no entropy_3"),
        (columns_of(label=[0, 1, None]), "the column label has empty cells"),
        (columns_of(prediction_1=[0, 1, -1]), "predictions from -1 to 2"),
        (columns_of(prediction_3=[0, 1, 2]), r"prediction of shape \(3, 3\)"),
        ({"label": [0, 1], "logits_1": [[1.0, 2.0], [1.0]]}, "differ in length"),
        ({"label": [0, 1], "logits_1": [[1.0, 2.0], [1.0, None]]}, "have empty places"),
        ({"label": [0, 1]}, "has labels; records need logits"),
        ({"other": [0, 1]}, "has none of these; records need logits"),
    ],
)
def test_a_mistake_in_columns_is_named(tmp_path, columns, message):
    with pytest.raises(InputError, match=message) as error:
        read_foreign(parquet(tmp_path, columns))
    assert "\n" not in str(error.value)


def test_what_is_no_file_of_records_is_named(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(InputError, match=r"x\.npz: cannot be read \(No such file"):
        read_foreign(path)
    path.write_text("label,entropy_1\n")
    with pytest.raises(InputError, match=r"neither \.npz \(numpy\.savez\) nor Parquet"):
        read_foreign(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["npz", "parquet"]))
def test_a_damaged_file_gives_no_other_numbers_and_one_line(tmp_path, data, kind):
    logits, labels = logits_and_labels(8)
    labels[:2] = 0, 1
    if kind == "npz":
        path = npz(tmp_path, logits=logits, labels=labels)
    else:
        lists = {f"logits_{k + 1}": list(logits[:, k]) for k in range(EXITS)}
        table = pa.Table.from_pandas(pd.DataFrame({"label": labels} | lists))
        path = tmp_path / "records.parquet"
        pq.write_table(table, path, write_page_checksum=True)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:place])
    else:
        bit = 1 << data.draw(st.integers(0, 7))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
    holds_logits(path)
    try:
        found = read_foreign(path)
    except InputError as error:
        assert "\n" not in str(error)
        return
    np.testing.assert_array_equal(found.label, labels)
    np.testing.assert_array_equal(found.logits, logits)


def test_the_manifest_says_what_belongs_together(tmp_path):
    calibration, test = read_foreign(with_logits(tmp_path)), read_foreign(with_logits(tmp_path))
    found = describe(FILES, calibration, test, EXITS, list("abcde"))
    assert (found["classes"], found["class_names"], found["exits"]) == (CLASSES, list("abcde"), 4)
    other = describe(FILES | {"test": "x" * 64}, calibration, test, EXITS, list("abcde"))
    assert found["digest"] != other["digest"]
    own = read_foreign(with_given(tmp_path))
    found = describe(FILES, own, own, EXITS)
    assert (found["classes"], found["measure"]) == (None, "given")
    early = uncertainty_and_correct()[0][:, :-1]
    assert found["span"] == [early.min(), early.max()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"files": FILES | {"test": FILES["calibration"]}}, "are the same file"),
        ({"exits": 3}, "prices of 3 exits, but records.calibration has 4"),
        ({"class_names": ["a", "b"]}, "2 names, but the records have 5 classes"),
        ({"class_names": ["a\n", *"bcde"]}, r"records\.class_names: 'a\\n' has a line break"),
        ({"class_names": ["a\r", *"bcde"]}, r"records\.class_names: 'a\\r' has a line break"),
        ({"costs": {"network": "m" * 64}}, "made with another network than records.calibration"),
    ],
)
def test_what_does_not_belong_together_is_named(tmp_path, arguments, message):
    one = read_foreign(with_logits(tmp_path))
    one.identity["network"] = "n" * 64
    usual = {"files": FILES, "calibration": one, "test": one, "exits": EXITS}
    with pytest.raises(InputError, match=message):
        describe(**usual | arguments)


def test_splits_that_hold_different_things_are_named(tmp_path):
    one, other = read_foreign(with_logits(tmp_path)), read_foreign(with_given(tmp_path))
    with pytest.raises(InputError, match=r"an uncertainty of its own, but .* has logits of 5 cl"):
        describe(FILES, one, other, EXITS)
    with pytest.raises(InputError, match="logits of 5 classes, but 4 are expected"):
        read_foreign(with_logits(tmp_path), classes=4)


def test_what_a_file_lists(tmp_path):
    assert holds_logits(with_logits(tmp_path))
    assert not holds_logits(with_given(tmp_path))
    assert not holds_logits(parquet(tmp_path, columns_of()))
    # Whoever reads it says what is wrong.
    assert holds_logits(tmp_path / "gone.npz")


# Cost tables.


def csv(folder, text, name="costs.csv"):
    path = folder / name
    path.write_text(text)
    return path


def model(folder, text):
    table, batches = read_foreign_costs(csv(folder, text))
    write_table(folder / "cost.csv", table)
    return read_costs(folder / "cost.csv", **batches)


def test_prices_are_taken_apart_into_stages_and_heads(tmp_path):
    costs = model(tmp_path, "exit,macs,head_macs\n2,33,2\n1,11,1\n3,66,3\n")
    assert costs.stage_macs.tolist() == [10, 20, 30]
    assert costs.head_macs.tolist() == [1, 2, 3]
    # Every head runs, and then the second does not.
    assert costs.macs(Policy("given", ExitRule.BELOW, (0.0, 0.0))).tolist() == [11, 33, 66]
    assert costs.macs(Policy("given", ExitRule.BELOW, (0.0, -np.inf))).tolist() == [11, 31, 64]


def test_a_unit_that_is_not_there_stays_unknown(tmp_path):
    policy = whole_network("given", ExitRule.BELOW, 2)
    for unit, other in (("macs", "ms"), ("ms", "macs")):
        costs = model(tmp_path, f"exit,{unit}\n1,1.5\n2,4\n")
        assert (costs.unit, costs.knows(unit), costs.knows(other)) == (unit, True, False)
        known, unknown = (
            costs.macs(policy)[-1] if name == "macs" else costs.predicted_ms(policy, [0.0, 1.0])
            for name in (unit, other)
        )
        assert known == 4
        assert np.isnan(unknown)
        assert costs.prices(unit).whole == 4
        with pytest.raises(InputError, match=f"given in {unit} alone"):
            costs.prices(other)
    assert costs.weighed_in("macs") == "ms"
    both = model(tmp_path, "exit,macs,ms\n1,1,2\n2,4,5\n")
    assert (both.unit, both.weighed_in("ms")) == ("macs", "ms")


def test_large_prices_keep_their_digits(tmp_path):
    costs = model(tmp_path, "exit,macs\n1,12345678901\n2,98765432109\n")
    assert costs.prices("macs").whole == 98765432109


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exit,mac\n1,1\n", "has the columns exit, mac; must have exit, and macs or ms"),
        ("macs\n1\n", "has the columns macs; must have exit"),
        ("exit,macs\n1,1\n3,2\n", "a row for each exit, numbered 1 to K"),
        ("exit,macs\n1,1\n1,2\n", "a row for each exit"),
        ("exit,macs\n1,3\n2,2\n", "macs must grow from exit to exit, and does not at exit 2"),
        ("exit,macs\n1,0\n2,2\n", "does not at exit 1"),
        ("exit,macs\n1,-1\n2,2\n", "macs must be numbers, none below 0"),
        ("exit,macs\n1,\n2,2\n", "macs must be numbers, none below 0 and no cell empty"),
        ("exit,ms\n1,fast\n2,2\n", "ms must be numbers"),
        ("exit,ms,head_macs\n1,1,1\n", "has head_macs without macs"),
        ("exit,ms,head_ms\n1,1,0\n2,3,2.5\n", "head_ms of exit 2 is 2.5, but .* adds only 2 ms"),
        ("exit,ms\n", "a row for each exit|exit must be numbers"),
        ("", "no readable CSV"),
    ],
)
def test_a_mistake_in_prices_is_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as error:
        read_foreign_costs(csv(tmp_path, text))
    assert "costs.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_table_of_another_experiment_is_taken_whole(tmp_path):
    path = tmp_path / "cost.csv"
    made_by = {"network": "n", "data": "d"}
    rows = [
        {"part": part, "exit": k, "batch_size": size, "macs": 10 * k, "ms_per_sample": 0.1 * size}
        for part in ("stage", "head", "overhead")
        for k in (1, 2)
        for size in (1, 8)
    ]
    write_table(path, pd.DataFrame(rows), made_by)
    with pytest.raises(InputError, match=r"and cost\.json beside it"):
        read_foreign_costs(path)
    from early_exit.files import sha256

    machine = {"batch_size": 8, "regroup": 64, "identity": made_by | {"costs": sha256(path)}}
    write_json(tmp_path / "cost.json", machine)
    assert side_file(path) == str(tmp_path / "cost.json")
    table, batches = read_foreign_costs(path)
    assert batches == {"batch_size": 8, "regroup": 64}
    assert len(table) == 12
    assert table.attrs["identity"] == made_by
    write_json(tmp_path / "cost.json", machine | {"identity": {"costs": "x"}})
    with pytest.raises(InputError, match=r"cost\.json: of another cost\.csv"):
        read_foreign_costs(path)
    path.write_text(path.read_text().replace("10", "11"))
    with pytest.raises(InputError, match=r"cost\.csv: .*does not fit\); take a whole copy of it"):
        read_foreign_costs(path)


# What a measure without a known range changes.


def test_the_sweep_goes_over_what_calibration_has():
    assert threshold_grid("given", 2, 3, [-4.0, 0.0]).tolist() == [-4.0, -2.0, 0.0]


def test_a_certificate_is_tested_on_other_samples_than_showed_the_range(tmp_path):
    records = read_foreign(with_given(tmp_path))
    samples = Samples.of(records, whole_network("given", ExitRule.BELOW, EXITS))
    assert samples.span == (-np.inf, np.inf)
    ((thresholds, promise),) = certified(samples, None, [Target("drop", 0.2)])
    assert promise.samples == 200
    assert np.isfinite(thresholds).all()
    # The half that tests has no say in which thresholds are tried.
    seen, testing = samples.halves()
    assert len(seen) + len(testing) == 400
    steps = np.linspace(seen.uncertainty.min(), seen.uncertainty.max(), 400)
    assert np.isclose(steps, thresholds[0]).any()


def test_the_identity_is_json(tmp_path):
    records = read_foreign(with_given(tmp_path), "test")
    assert json.loads(json.dumps(records.identity)) == records.identity
