"""A data set: rows of numbers. Put your own in the place of scikit-learn's digits."""

import numpy as np
from sklearn.datasets import load_digits


class Data:
    """Inputs and labels of each split; docs/data.md has all that a class may have."""

    class_names = tuple("0123456789")

    def __init__(self, path=None, scale=1):
        # `path` is dataset.path. Read it in split: new samples are prepared without it.
        self.path, self.scale = path, scale

    def split(self, name):
        """Inputs (N, ...) and labels (N,) of train, calibration or test; None: cut from train."""
        if name != "train":
            return None
        rows, labels = load_digits(return_X_y=True)
        return self.prepare(rows), labels

    def prepare(self, raw):
        """Inputs from a list of raw samples, also of new ones (early-exit predict --jsonl)."""
        return np.asarray(raw) / self.scale
