import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from early_exit.io.files import read_table, write_table
from early_exit.io.thresholds import as_numbers, as_words

INF = math.inf


def test_infinite_thresholds_are_words_by_the_exit_rule():
    table = pd.DataFrame(
        {"exit_rule": ["below", "below", "above", "above"], "threshold_1": [INF, -INF, INF, -INF]}
    )
    words = as_words(table)
    assert words.threshold_1.tolist() == ["always", "never", "never", "always"]
    pd.testing.assert_frame_equal(as_numbers(words), table)


def test_numbers_keep_nine_digits_and_texts_all_of_them():
    table = pd.DataFrame({"exit_rule": "below", "threshold_1": [0.123456789123, np.nan]})
    assert as_words(table).threshold_1.tolist() == ["0.123456789", ""]
    exact = pd.DataFrame({"exit_rule": ["below"], "threshold_1": ["0.12345678912345678"]})
    assert as_words(exact).threshold_1.tolist() == ["0.12345678912345678"]


def test_a_table_without_an_exit_rule_stays_as_it_is():
    table = pd.DataFrame({"threshold_1": [INF]})
    assert as_words(table).threshold_1.tolist() == [INF]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["below", "above"]),
            st.floats(width=32, allow_nan=False) | st.just(math.nan),
        ),
        min_size=1,
    )
)
def test_single_precision_is_the_same_again(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    table = pd.DataFrame(rows, columns=["exit_rule", "threshold_1"])
    write_table(path, table)
    read = read_table(path, ["threshold_1"]).threshold_1.to_numpy()
    np.testing.assert_array_equal(read.astype(np.float32), table.threshold_1.astype(np.float32))


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="often"):
        as_numbers(pd.DataFrame({"exit_rule": ["below"], "threshold_1": ["often"]}))
