"""External records and cost tables: accepted files and error messages."""

import itertools
import json
import os
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from early_exit.calibration.methods.certified import certified
from early_exit.calibration.targets import Target
from early_exit.errors import InputError
from early_exit.io.files import write_json, write_table
from early_exit.policy.costs import read_costs
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.external_costs import read_external_costs, remarks_on_costs
from early_exit.policy.policy import full_network
from early_exit.policy.samples import Samples
from early_exit.policy.sweep import threshold_grid
from early_exit.records import table as records_table
from early_exit.records.external.columns import Parquet
from early_exit.records.external.describe import Examined, describe, examine
from early_exit.records.external.files import holds_logits, side_file
from early_exit.records.external.read import open_external, read_external_records
from early_exit.records.parquet import read_records, write_records
from early_exit.records.table import from_external
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


def of_seed(folder, seed):
    logits, labels = logits_and_labels(seed=seed)
    return with_logits(folder, logits=logits, labels=labels)


def with_external(folder, **changed):
    uncertainty, correct = uncertainty_and_correct()
    return npz(folder, **{"uncertainty": uncertainty, "correct": correct} | changed)


def test_logits_from_npz(tmp_path):
    logits, labels = logits_and_labels()
    records = read_external_records(with_logits(tmp_path), "test")
    np.testing.assert_array_equal(records.logits, logits)
    np.testing.assert_array_equal(records.correct, logits.argmax(axis=2) == labels[:, None])
    assert records.index.tolist() == list(range(400))
    assert records.provenance == {"split": "test", "classes": CLASSES, "exits": EXITS}


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_any_precision_is_accepted(tmp_path, dtype):
    logits, _ = logits_and_labels()
    path = with_logits(tmp_path, logits=logits.astype(dtype), index=np.arange(1000, 1400))
    records = read_external_records(path)
    assert records.logits.dtype == np.float32
    assert records.index[0] == 1000


def test_an_uncertainty_of_its_own_makes_the_round_trip(tmp_path):
    uncertainty, correct = uncertainty_and_correct()
    records = read_external_records(with_external(tmp_path), "calibration")
    made_by = {"network": "n", "data": "d", "span": [-2.0, 0.0]}
    for found in (records, again(tmp_path, records, made_by)):
        # To the last digit: a threshold must have the same meaning everywhere.
        np.testing.assert_array_equal(found.uncertainty_by("external"), uncertainty)
        np.testing.assert_array_equal(found.correct, correct)
        with pytest.raises(InputError, match="not the measure entropy; set measure to external"):
            found.uncertainty_by("entropy")
    columns = pq.read_schema(tmp_path / "calibration.parquet").names
    assert columns == ["index", "label"] + [
        f"{name}_{k}" for k in range(1, EXITS + 1) for name in ("uncertainty", "prediction")
    ]
    with pytest.raises(InputError, match="not the measure external; set measure to entropy"):
        make_records().uncertainty_by("external")


def again(folder, records, made_by):
    path = folder / "calibration.parquet"
    write_records(
        path, type(records)(**vars(records) | {"provenance": records.provenance | made_by})
    )
    return read_records(path)


def test_parquet_made_by_pandas(tmp_path):
    logits, labels = logits_and_labels()
    lists = {f"logits_{k + 1}": list(logits[:, k]) for k in range(EXITS)}
    expected = read_external_records(with_logits(tmp_path))
    found = read_external_records(parquet(tmp_path, {"label": labels} | lists))
    np.testing.assert_array_equal(found.logits, expected.logits)
    np.testing.assert_array_equal(found.uncertainty, expected.uncertainty)
    # The same without logits, and as right and wrong.
    columns = {"label": labels, "index": np.arange(400) + 7}
    right, exits = {}, range(1, EXITS + 1)
    for k in exits:
        columns[f"entropy_{k}"] = expected.uncertainty[:, k - 1]
        columns[f"prediction_{k}"] = expected.prediction[:, k - 1]
        right[f"uncertainty_{k}"] = expected.uncertainty[:, k - 1]
        right[f"correct_{k}"] = expected.correct[:, k - 1]
    bare = read_external_records(parquet(tmp_path, columns))
    assert (bare.logits, bare.classes, bare.index[0]) == (None, CLASSES, 7)
    np.testing.assert_array_equal(bare.correct, expected.correct)
    np.testing.assert_array_equal(
        read_external_records(parquet(tmp_path, right)).correct, expected.correct
    )


def test_files_of_this_project_are_recognised(tmp_path):
    path = tmp_path / "calibration.parquet"
    write_records(path, make_records())
    records = read_external_records(path, "calibration")
    assert records.provenance["network"] == make_records().provenance["network"]
    np.testing.assert_array_equal(records.logits, make_records().logits)
    with pytest.raises(InputError, match="contains the split calibration, not test"):
        read_external_records(path, "test")
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"calibration\.parquet.*(damaged|cannot be read)"):
        read_external_records(path, "calibration")


def test_a_few_new_samples_need_not_show_every_class(tmp_path):
    """As `early-exit check` reads them, with known classes."""
    columns = {"label": [0] * 5}
    for k in range(1, EXITS + 1):
        columns |= {f"entropy_{k}": [1.0] * 5, f"prediction_{k}": [0, 0, 1, 1, 0]}
    found = read_external_records(parquet(tmp_path, columns), classes=CLASSES, labelled=False)
    assert found.classes == CLASSES
    assert found.correct[:, 0].tolist() == [True, True, False, False, True]
    with pytest.raises(InputError, match=f"logits of {CLASSES} classes, but .* have {CLASSES + 1}"):
        read_external_records(with_logits(tmp_path), classes=CLASSES + 1, labelled=False)
    with pytest.raises(InputError, match="all 5 samples are of class 0"):
        read_external_records(parquet(tmp_path, columns), classes=CLASSES)


def test_without_labels_where_none_are_asked_for(tmp_path):
    logits, _ = logits_and_labels()
    path = npz(tmp_path, logits=logits)
    found = read_external_records(path, labelled=False)
    np.testing.assert_array_equal(
        found.uncertainty, read_external_records(with_logits(tmp_path)).uncertainty
    )
    assert (found.label == -1).all()
    assert not found.correct.any()
    path = npz(tmp_path, uncertainty=uncertainty_and_correct()[0])
    assert not read_external_records(path, labelled=False).correct.any()
    with pytest.raises(InputError, match="has uncertainty; records need logits"):
        read_external_records(path)


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
        ({"labels": np.array([{}] * 400)}, "labels contains Python objects, but must be numbers"),
    ],
)
def test_a_mistake_in_logits_is_named(tmp_path, changed, message):
    with pytest.raises(InputError, match=message) as error:
        read_external_records(with_logits(tmp_path, **changed))
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
def test_mistakes_in_records_are_reported(tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        read_external_records(with_external(tmp_path, **changed))


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
        ({"label": [0, 1], "logits_1": [[1.0, 2.0], [1.0, None]]}, "have empty elements"),
        ({"label": [0, 1]}, "has label; records need logits"),
        ({"other": [0, 1]}, "has other; records need logits"),
        ({"labels": [0, 1], "logits_1": [[1.0, 2.0]] * 2}, "has labels, logits_1; records need"),
    ],
)
def test_a_mistake_in_columns_is_named(tmp_path, columns, message):
    with pytest.raises(InputError, match=message) as error:
        read_external_records(parquet(tmp_path, columns))
    assert "\n" not in str(error.value)


def test_labels_that_claim_any_length_are_not_read(tmp_path):
    """A thousand million labels, all alike, are 1 MB of a file."""
    tracemalloc.start()
    with pytest.raises(InputError, match=r"labels of shape \(50000000,\), but must be"):
        path = tmp_path / "records.npz"
        np.savez_compressed(path, logits=LOGITS, labels=np.zeros(50_000_000, np.int8))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        read_external_records(path)
    assert tracemalloc.get_traced_memory()[1] - before < 5e6
    tracemalloc.stop()


def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "x.npz")
    with pytest.raises(InputError, match="a pipe, not a file"):
        read_external_records(tmp_path / "x.npz")


def test_other_files_are_reported(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(InputError, match=r"x\.npz: cannot be read \(No such file"):
        read_external_records(path)
    path.write_text("label,entropy_1\n")
    with pytest.raises(InputError, match=r"neither \.npz \(numpy\.savez\) nor Parquet"):
        read_external_records(path)


def test_every_flipped_bit_of_a_parquet_footer_is_found_or_harmless(tmp_path):
    """One of them left no rows and no error."""
    logits, labels = logits_and_labels(8)
    labels[:2] = 0, 1
    lists = {f"logits_{k + 1}": list(logits[:, k]) for k in range(EXITS)}
    table = pa.Table.from_pandas(pd.DataFrame({"label": labels} | lists))
    path = tmp_path / "records.parquet"
    pq.write_table(table, path, write_page_checksum=True)
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in range(footer, len(whole), 3):
        bit = 1 << (place % 8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            found = read_external_records(path)
        except InputError as error:
            assert "\n" not in str(error)
            continue
        np.testing.assert_array_equal(found.logits, logits)


def test_a_damaged_footer_that_hides_all_rows_is_an_input_error(tmp_path):
    """Some flipped bits make pyarrow return no batch at all, and no error."""
    logits, labels = logits_and_labels(8)
    lists = pa.array(list(logits[:, 0]))
    path = tmp_path / "records.parquet"
    pq.write_table(pa.table({"label": labels, "logits_1": lists}), path)
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    expected = f"{path}: damaged: 0 of 8 rows can be read; get a complete copy of it"
    for position, bit in itertools.product(range(len(whole) - 9, footer, -1), range(8)):
        flipped = bytes([whole[position] ^ 1 << bit])
        path.write_bytes(whole[:position] + flipped + whole[position + 1 :])
        try:
            Parquet(path)
        except InputError as error:
            if str(error) == expected:
                return
    pytest.fail("no flipped bit of the footer hides all rows")


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
        found = read_external_records(path)
    except InputError as error:
        assert "\n" not in str(error)
        return
    np.testing.assert_array_equal(found.label, labels)
    np.testing.assert_array_equal(found.logits, logits)


def test_the_manifest_describes_all_files(tmp_path):
    calibration, test = (examine(of_seed(tmp_path, seed), "") for seed in (0, 1))
    found = describe(FILES, calibration, test, EXITS, list("abcde"))
    assert (found["classes"], found["class_names"], found["exits"]) == (CLASSES, list("abcde"), 4)
    other = describe(FILES | {"test": "x" * 64}, calibration, test, EXITS, list("abcde"))
    assert found["digest"] != other["digest"]
    own = examine(with_external(tmp_path), "")
    uncertainty, correct = uncertainty_and_correct(seed=1)
    found = describe(
        FILES, own, Examined(from_external(LABELS, uncertainty, correct, {}), "external"), EXITS
    )
    assert (found["classes"], found["measure"]) == (None, "external")
    early = uncertainty_and_correct()[0][:, :-1]
    assert found["span"] == [early.min(), early.max()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"files": FILES | {"test": FILES["calibration"]}}, "are the same file"),
        ({"exits": 3}, "costs of 3 exits, but records.calibration has 4"),
        ({"class_names": ["a", "b"]}, "2 names, but the records have 5 classes"),
        ({"class_names": ["a\n", *"bcde"]}, r"records\.class_names: 'a\\n' has a line break"),
        ({"class_names": ["a\r", *"bcde"]}, r"records\.class_names: 'a\\r' has a line break"),
        ({"costs": {"network": "m" * 64}}, "made with another network than records.calibration"),
    ],
)
def test_what_does_not_belong_together_is_named(tmp_path, arguments, message):
    one, other = (examine(of_seed(tmp_path, seed), "") for seed in (0, 1))
    one.records.provenance["network"] = "n" * 64
    usual = {"files": FILES, "calibration": one, "test": other, "exits": EXITS}
    with pytest.raises(InputError, match=message):
        describe(**usual | arguments)


def test_splits_that_hold_different_things_are_named(tmp_path):
    one, other = examine(with_logits(tmp_path), ""), examine(with_external(tmp_path), "")
    with pytest.raises(InputError, match=r"external uncertainties, but .* has logits of 5 cl"):
        describe(FILES, one, other, EXITS)
    with pytest.raises(InputError, match=r"logits of 5 classes, but .* have 4"):
        read_external_records(with_logits(tmp_path), classes=4)


def test_what_a_file_lists(tmp_path):
    assert holds_logits(with_logits(tmp_path))
    assert not holds_logits(with_external(tmp_path))
    assert not holds_logits(parquet(tmp_path, columns_of()))
    # Reading it reports the error.
    assert holds_logits(tmp_path / "gone.npz")


# Warnings about arrays of the right shape with probably wrong content.


def remarks(folder, sign=1, **arrays):
    return examine(npz(folder, **arrays), "calibration", rule_sign=sign).remarks


def softmaxed(logits):
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=2, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_instead_of_logits_give_a_warning(tmp_path, dtype):
    own = softmaxed(LOGITS)
    (remark,) = remarks(tmp_path, logits=own.astype(dtype), labels=LABELS)
    assert remark.startswith("the logits of exits 1, 2, 3, 4 are at least 0 and sum to 1 for ev")
    # Following the advice gives the network's own uncertainties.
    followed = np.log(np.clip(own.astype(dtype).astype(np.float64), 1e-12, None))
    assert not remarks(tmp_path, logits=followed, labels=LABELS)
    expected = read_external_records(with_logits(tmp_path)).uncertainty
    path = npz(tmp_path, logits=followed, labels=LABELS)
    np.testing.assert_allclose(read_external_records(path).uncertainty, expected, atol=0.01)


def test_percentages_and_sigmoid_outputs_give_a_warning(tmp_path):
    (remark,) = remarks(tmp_path, logits=100 * softmaxed(LOGITS), labels=LABELS)
    assert "sum to 100 for every sample" in remark
    (remark,) = remarks(tmp_path, logits=1 / (1 + np.exp(-LOGITS)), labels=LABELS)
    assert "the logits of exits 1, 2, 3, 4 all lie between 0 and 1, as outputs of" in remark
    assert not remarks(tmp_path, logits=np.abs(LOGITS), labels=LABELS)


def test_one_head_that_ends_in_softmax_is_remarked_on(tmp_path):
    logits = np.where(np.arange(EXITS)[:, None] == 2, softmaxed(LOGITS), LOGITS)
    (remark,) = remarks(tmp_path, logits=logits, labels=LABELS)
    assert "the logits of exit 3 are at least 0" in remark


def test_good_records_have_no_remarks(tmp_path):
    assert not remarks(tmp_path, logits=LOGITS, labels=LABELS)
    assert not remarks(tmp_path, uncertainty=UNSURE, correct=RIGHT)
    assert not remarks(tmp_path, -1, uncertainty=-UNSURE, correct=RIGHT)
    # An exit that is always or never correct has no AUROC.
    assert not remarks(tmp_path, uncertainty=UNSURE, correct=RIGHT | True)
    # Nor do few samples give a warning.
    few = np.array([3, 7, 11, 20])
    assert not remarks(tmp_path, uncertainty=-UNSURE[few], correct=RIGHT[few])


def test_a_confidence_instead_of_an_uncertainty_gives_a_warning(tmp_path):
    (remark,) = remarks(tmp_path, uncertainty=-UNSURE, correct=RIGHT)
    # The final exit is not checked.
    assert "the uncertainty of exits 1, 2, 3 ranks wrong samples as surer than correct" in remark
    assert "give its negative" in remark
    assert not remarks(tmp_path, uncertainty=UNSURE, correct=RIGHT)
    (remark,) = remarks(tmp_path, -1, uncertainty=UNSURE, correct=RIGHT)
    assert "High must be sure under this exit_rule" in remark


def test_an_uncertainty_that_tells_nothing_is_remarked_on(tmp_path):
    rng = np.random.default_rng(0)
    uncertainty, correct = uncertainty_and_correct(4000)
    shuffled = rng.permutation(uncertainty)
    (remark,) = remarks(tmp_path, uncertainty=shuffled, correct=correct)
    assert "exits 1, 2, 3 separates wrong samples from correct ones no better" in remark
    (remark,) = remarks(tmp_path, uncertainty=np.ones_like(UNSURE), correct=RIGHT)
    assert "the uncertainty of exits 1, 2, 3 is the same for all samples" in remark


def test_labels_of_other_samples_are_remarked_on(tmp_path):
    found = remarks(tmp_path, logits=LOGITS, labels=np.random.default_rng(0).permutation(LABELS))
    assert any("the final exit is correct on" in remark for remark in found)


def test_samples_that_share_an_index_are_remarked_on(tmp_path):
    index = np.arange(400)
    index[[5, 9]] = 7
    (remark,) = remarks(tmp_path, logits=LOGITS, labels=LABELS, index=index)
    assert remark.startswith("3 samples share their index with another, first 7;")


def described(folder, calibration, test):
    splits = [examine(npz(folder, **arrays), "") for arrays in (calibration, test)]
    return describe(FILES, *splits, EXITS)["remarks"]


def test_samples_of_both_splits_are_remarked_on(tmp_path):
    logits, labels = logits_and_labels(seed=1)
    one = {"logits": LOGITS, "labels": LABELS}
    assert not described(tmp_path, one, {"logits": logits, "labels": labels})
    logits[:30], labels[:30] = LOGITS[100:130], LABELS[100:130]
    (remark,) = described(tmp_path, one, {"logits": logits, "labels": labels})
    assert remark.startswith("records.test: 30 of 400 samples are in records.calibration too")
    # All of them, in another order, as after another compression.
    with pytest.raises(InputError, match="calibration and test have the same samples"):
        described(tmp_path, one, {"logits": LOGITS[::-1], "labels": LABELS[::-1]})


def test_samples_that_look_alike_by_chance_are_not(tmp_path):
    """Uncertainties of few digits coincide, within the splits as often as between them."""
    splits = [uncertainty_and_correct(seed=seed) for seed in (0, 1)]
    rounded = [{"uncertainty": np.round(u), "correct": right} for u, right in splits]
    assert not described(tmp_path, *rounded)


# Advice on axes in another order.


@pytest.mark.parametrize(
    ("order", "advice"),
    [
        ((1, 0, 2), r"give logits\.transpose\(1, 0, 2\), which is \(N, K, C\)"),
        ((0, 2, 1), r"give logits\.transpose\(0, 2, 1\)"),
        ((2, 0, 1), r"give logits\.transpose\(1, 2, 0\)"),
        ((1, 2, 0), r"give logits\.transpose\(2, 0, 1\)"),
        ((2, 1, 0), r"give logits\.transpose\(2, 1, 0\)"),
    ],
)
def test_logits_in_another_order_give_advice(tmp_path, order, advice):
    turned = LOGITS.transpose(order)
    with pytest.raises(InputError, match=advice) as error:
        read_external_records(with_logits(tmp_path, logits=turned))
    words = str(error.value).partition("transpose(")[2].partition(")")[0]
    followed = turned.transpose([int(axis) for axis in words.split(",")])
    read = read_external_records(with_logits(tmp_path, logits=followed))
    np.testing.assert_array_equal(read.logits, LOGITS)


def test_uncertainties_in_another_order_give_advice(tmp_path):
    with pytest.raises(InputError, match=r"correct of shape \(4, 400\), .*; give correct\.T"):
        read_external_records(with_external(tmp_path, correct=RIGHT.T))
    turned = examine(npz(tmp_path, uncertainty=UNSURE.T, correct=RIGHT.T), "")
    with pytest.raises(InputError, match=r"are \(K, N\): give uncertainty\.T and correct\.T"):
        describe(FILES, turned, turned, EXITS)


@pytest.mark.parametrize(
    ("labels", "advice"),
    [
        (LABELS[:, None], r"give labels\.ravel\(\)"),
        (np.eye(CLASSES, dtype=int)[LABELS], r"give labels\.argmax\(axis=1\)"),
        (LABELS.astype(float), r"give labels\.astype\(int\)"),
    ],
)
def test_labels_in_another_form_give_advice(tmp_path, labels, advice):
    with pytest.raises(InputError, match=advice):
        read_external_records(with_logits(tmp_path, labels=labels))


def test_splits_of_different_exits_are_named(tmp_path):
    one = examine(with_logits(tmp_path), "")
    other = examine(with_logits(tmp_path, logits=LOGITS[:, 1:]), "")
    for splits, name in (((one, other), "test has 3"), ((other, one), "calibration has 3")):
        with pytest.raises(InputError, match=f"costs of 4 exits, but records.{name} .*has 4"):
            describe(FILES, *splits, EXITS)
    with pytest.raises(InputError, match="has 3; the cost table needs a row for each exit"):
        describe(FILES, other, other, EXITS)


@pytest.mark.parametrize("name", ["entropy_0", "entropy_01", "entropy_00"])
def test_columns_that_are_numbered_from_0_are_named(tmp_path, name):
    with pytest.raises(InputError, match=f"a column {name}, but exits are numbered from 1"):
        read_external_records(parquet(tmp_path, columns_of(**{name: [0.1, 0.2, 0.3]})))


@pytest.mark.parametrize("name", ["entropy_x", "entropi_1", "indez", "Entropy_2"])
def test_a_name_with_one_letter_wrong_is_named(tmp_path, name):
    """Otherwise a last exit called `entropy_f` would be ignored silently."""
    with pytest.raises(InputError, match="in one letter; rename or remove it"):
        read_external_records(parquet(tmp_path, columns_of(**{name: [0.1, 0.2, 0.3]})))
    other = read_external_records(parquet(tmp_path, columns_of(entropy_mean=[0.1, 0.2, 0.3])))
    assert other.exits == 2


def test_an_absurd_number_of_exits_is_one_line(tmp_path):
    with pytest.raises(InputError, match="has entropy_4000000000, but no entropy_3"):
        read_external_records(parquet(tmp_path, columns_of(entropy_4000000000=[0.1, 0.2, 0.3])))


@pytest.mark.parametrize("value", [1.7e308, -1e101])
def test_uncertainties_that_nothing_can_be_computed_from_are_refused(tmp_path, value):
    with pytest.raises(InputError, match=r"must be within 1e\+100; scale them, or clip those"):
        read_external_records(
            with_external(tmp_path, uncertainty=np.where(UNSURE < -5, value, UNSURE))
        )


@pytest.mark.parametrize("form", ["npz", "fortran", "parquet"])
def test_a_split_is_read_in_pieces(tmp_path, monkeypatch, form):
    """Pieces fit into memory and add up to the complete records."""
    monkeypatch.setattr(records_table, "VALUES", 7 * EXITS * CLASSES)
    if form == "parquet":
        lists = {f"logits_{k + 1}": list(LOGITS[:, k]) for k in range(EXITS)}
        path = parquet(tmp_path, {"label": LABELS} | lists)
    else:
        turn = np.asfortranarray if form == "fortran" else np.ascontiguousarray
        path = with_logits(tmp_path, logits=turn(LOGITS))
    pieces = [*open_external(path).pieces()]
    assert [len(piece) for piece in pieces] == [7] * 57 + [1]
    np.testing.assert_array_equal(np.concatenate([p.logits for p in pieces]), LOGITS)
    assert np.concatenate([p.index for p in pieces]).tolist() == [*range(400)]


# Cost tables.


def csv(folder, text, name="costs.csv"):
    path = folder / name
    path.write_text(text)
    return path


def model(folder, text):
    table, batches = read_external_costs(csv(folder, text))
    write_table(folder / "cost.csv", table)
    return read_costs(folder / "cost.csv", batches["batch_size"], batches["regroup"])


def test_costs_are_split_into_stages_and_heads(tmp_path):
    costs = model(tmp_path, "exit,macs,head_macs\n2,33,2\n1,11,1\n3,66,3\n")
    assert costs.stage_macs.tolist() == [10, 20, 30]
    assert costs.head_macs.tolist() == [1, 2, 3]
    # Every head runs, and then the second does not.
    assert costs.macs([True, True, True]).tolist() == [11, 33, 66]
    assert costs.macs([True, False, True]).tolist() == [11, 31, 64]


def test_a_missing_unit_stays_unknown(tmp_path):
    heads = full_network(ExitCriterion("external"), 2).heads_run
    for unit, other in (("macs", "ms"), ("ms", "macs")):
        costs = model(tmp_path, f"exit,{unit}\n1,1.5\n2,4\n")
        assert (costs.unit, costs.knows(unit), costs.knows(other)) == (unit, True, False)
        known, unknown = (
            costs.macs(heads)[-1] if name == "macs" else costs.predicted_ms(heads, [0.0, 1.0])
            for name in (unit, other)
        )
        assert known == 4
        assert np.isnan(unknown)
        assert costs.in_unit(unit).full_network == 4
        with pytest.raises(InputError, match=f"only in {unit}, but"):
            costs.in_unit(other)
    assert costs.weighed_in("macs") == "ms"
    both = model(tmp_path, "exit,macs,ms\n1,1,2\n2,4,5\n")
    assert (both.unit, both.weighed_in("ms")) == ("macs", "ms")


def test_relative_costs_stand_where_macs_do(tmp_path):
    path = csv(tmp_path, "exit,relative,head_relative\n1,0.06,0.01\n2,1,0.02\n")
    table, machine = read_external_costs(path)
    assert machine == {"batch_size": 1, "regroup": 0, "unit": "relative"}
    costs = model(tmp_path, path.read_text())
    assert costs.in_unit("macs").full_network == pytest.approx(0.99)
    assert not remarks_on_costs(table, machine)
    splits = [examine(of_seed(tmp_path, seed), "") for seed in (0, 1)]
    assert describe(FILES, *splits, EXITS, unit="relative")["cost_unit"] == "relative"
    assert "cost_unit" not in describe(FILES, *splits, EXITS)


@pytest.mark.parametrize("macs", ["1,0.06\n2,1", "1,6\n2,99"])
def test_relative_costs_called_macs_are_remarked_on(tmp_path, macs):
    (remark,) = remarks_on_costs(*read_external_costs(csv(tmp_path, f"exit,macs\n{macs}\n")))
    assert "name the columns relative and head_relative" in remark
    # Following the advice mends it.
    assert not remarks_on_costs(*read_external_costs(csv(tmp_path, f"exit,relative\n{macs}\n")))
    assert not remarks_on_costs(*read_external_costs(csv(tmp_path, "exit,macs\n1,1e5\n2,2e5\n")))
    assert not remarks_on_costs(*read_external_costs(csv(tmp_path, "exit,ms\n1,1\n2,2\n")))


def test_large_costs_keep_their_digits(tmp_path):
    costs = model(tmp_path, "exit,macs\n1,12345678901\n2,98765432109\n")
    assert costs.in_unit("macs").full_network == 98765432109


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "exit,mac\n1,1\n",
            "has the columns exit, mac, but must have exit, and macs .or relative. or ms",
        ),
        ("macs\n1\n", "has the columns macs, but must have exit"),
        ("exit,macs\n1,1\n3,2\n", "a row for each exit, numbered 1 to K"),
        ("exit,macs\n1,1\n1,2\n", "a row for each exit"),
        ("exit,macs\n1,3\n2,2\n", "macs must grow from exit to exit, but does not at exit 2"),
        ("exit,macs\n1,0\n2,2\n", "does not at exit 1"),
        ("exit,macs\n1,-1\n2,2\n", "macs must be numbers of at least 0"),
        ("exit,macs\n1,\n2,2\n", "macs must be numbers of at least 0, without empty cells"),
        ("exit,ms\n1,fast\n2,2\n", "ms must be numbers"),
        ("exit,ms,head_macs\n1,1,1\n", "has head_macs without macs"),
        ("exit,macs,relative\n1,1,1\n", "has relative costs and macs; remove one of them"),
        ("exit,macs\n1,1e300\n", r"macs up to 1e\+300; use a larger unit"),
        ("exit,ms,head_ms\n1,1,0\n2,3,2.5\n", "head_ms of exit 2 is 2.5, but .* add only 2 ms"),
        ("exit,ms\n", "a row for each exit|exit must be numbers"),
        ("", "cannot be read as CSV"),
    ],
)
def test_mistakes_in_costs_are_reported(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as error:
        read_external_costs(csv(tmp_path, text))
    assert "costs.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_cost_table_of_another_experiment_is_accepted(tmp_path):
    path = tmp_path / "cost.csv"
    made_by = {"network": "n", "data": "d"}
    rows = [
        {"part": part, "exit": k, "batch_size": size, "macs": 10 * k, "ms_per_sample": 0.1 * size}
        for part in ("stage", "head", "overhead")
        for k in (1, 2)
        for size in (1, 8)
    ]
    write_table(path, pd.DataFrame(rows), made_by)
    with pytest.raises(InputError, match=r"and have cost\.json beside it"):
        read_external_costs(path)
    from early_exit.io.files import sha256

    machine = {"batch_size": 8, "regroup": 64, "identity": made_by | {"costs": sha256(path)}}
    write_json(tmp_path / "cost.json", machine)
    assert side_file(path) == str(tmp_path / "cost.json")
    table, batches = read_external_costs(path)
    assert batches == {"batch_size": 8, "regroup": 64}
    assert len(table) == 12
    assert table.attrs["provenance"] == made_by
    write_json(tmp_path / "cost.json", machine | {"identity": {"costs": "x"}})
    with pytest.raises(InputError, match=r"cost\.json: belongs to another cost\.csv"):
        read_external_costs(path)
    path.write_text(path.read_text().replace("10", "11"))
    with pytest.raises(
        InputError, match=r"cost\.csv: .*does not match\); get a complete copy of it"
    ):
        read_external_costs(path)


# Measures without a known range.


def test_the_sweep_goes_over_what_calibration_has():
    assert threshold_grid("external", 2, 3, [-4.0, 0.0]).tolist() == [-4.0, -2.0, 0.0]


def test_a_certificate_is_tested_on_other_samples_than_showed_the_range(tmp_path):
    records = read_external_records(with_external(tmp_path))
    samples = Samples.of(records, ExitCriterion("external"))
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
    records = read_external_records(with_external(tmp_path), "test")
    assert json.loads(json.dumps(records.provenance)) == records.provenance
