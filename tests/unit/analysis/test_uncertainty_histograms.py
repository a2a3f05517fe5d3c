import numpy as np

from early_exit.analysis.uncertainty import histograms


def test_every_prediction_is_counted_once():
    rng = np.random.default_rng(0)
    uncertainty, correct = rng.random((100, 3)), rng.random((100, 3)) < 0.7
    table = histograms(uncertainty, correct, 10)
    assert len(table) == 30
    for exit, rows in table.groupby("exit"):
        assert rows.right.sum() == correct[:, exit - 1].sum()
        assert rows.wrong.sum() == (~correct[:, exit - 1]).sum()
        inside = (uncertainty[:, exit - 1] >= rows.low.iloc[4]) & (
            uncertainty[:, exit - 1] < rows.high.iloc[4]
        )
        assert rows.right.iloc[4] == (inside & correct[:, exit - 1]).sum()


def test_infinite_and_equal_uncertainties_are_counted():
    infinite = np.array([[0.0, -np.inf], [1.0, np.inf]])
    table = histograms(infinite, np.ones((2, 2), bool), 4)
    assert table[table.exit == 2].right.tolist() == [1, 0, 0, 1]
    assert histograms(np.zeros((5, 1)), np.ones((5, 1), bool)).right.sum() == 5
    assert histograms(np.full((2, 1), np.inf), np.ones((2, 1), bool)).right.sum() == 2
