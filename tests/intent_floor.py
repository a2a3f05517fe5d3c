"""A linear SVM on TF-IDF of n-grams, the floor for networks on CLINC150.

    python tests/intent_floor.py DATA_DIR [--test]

prints its accuracy on the calibration split (with ``--test``, on the test split as well), the time
to fit it, and its time for a query in batches of 1 and 128. The n-grams are of 1 and 2 words, and
of 2 to 5 characters.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.svm import LinearSVC

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from early_exit.datasets import clinc150

BATCHES = (1, 128)
# Batches of a size that are timed; the median counts.
REPEATS = 30


def main() -> None:
    """Fit, test and time it."""
    parser = argparse.ArgumentParser(description="Linear SVM on CLINC150")
    parser.add_argument("data_dir", type=Path, help="folder of clinc150/")
    parser.add_argument("--test", action="store_true", help="test it on the test split, too")
    arguments = parser.parse_args()
    queries, intents = clinc150.queries(arguments.data_dir, "train")
    start = time.perf_counter()
    model = fitted(queries, intents)
    print(f"fitted in {time.perf_counter() - start:.1f} s")
    for split in ("calibration", "test") if arguments.test else ("calibration",):
        print(f"{split}: {100 * model.score(*clinc150.queries(arguments.data_dir, split)):.2f} %")
    asked, _ = clinc150.queries(arguments.data_dir, "calibration")
    for size in BATCHES:
        print(f"batch of {size}: {1e3 * seconds(model, asked, size):.3f} ms a query")


def fitted(queries: Sequence[str], intents: Sequence[str]) -> Pipeline:
    """The classifier, trained."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char", ngram_range=(2, 5), sublinear_tf=True)
    return make_pipeline(make_union(words, characters), LinearSVC()).fit(queries, intents)


def seconds(model: Pipeline, queries: Sequence[str], size: int) -> float:
    """Median seconds for a query, from text to class, in batches of ``size``."""
    times = []
    for first in range(0, size * REPEATS, size):
        batch = [queries[row % len(queries)] for row in range(first, first + size)]
        start = time.perf_counter()
        model.predict(batch)
        times.append((time.perf_counter() - start) / size)
    return statistics.median(times)


if __name__ == "__main__":
    main()
