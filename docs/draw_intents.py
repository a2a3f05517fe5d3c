"""Draw docs/intents.png: early exits on CLINC150 against what one would do instead.

    python docs/draw_intents.py DATA_DIR

after `snakemake --cores 2 all baselines --config run=intents data_dir=DATA_DIR`. The times of the
network, of its policies and of the networks that were cut and trained alone are those of
results/intents/baselines; to each the time is added that texts take to become arrays. The linear
SVM on TF-IDF of n-grams (tests/intent_floor.py) is fitted and timed here, from text to class, in
batches of the same size.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

import matplotlib as mpl  # noqa: E402

mpl.use("Agg")

import pandas as pd  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import PercentFormatter  # noqa: E402

from early_exit.datasets import clinc150, texts  # noqa: E402
from early_exit.inference.baselines import BATCH, FULL, POLICY, SMALLER  # noqa: E402
from early_exit.statistics.intervals import wilson_interval  # noqa: E402
from intent_floor import fitted, seconds  # noqa: E402

REPEATS = 30
TICKS = (0.1, 0.2, 0.3, 0.4, 0.5)


def main() -> None:
    """Measure the SVM and the preparation of texts, draw, and print what is drawn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--results", type=Path, default=ROOT / "results/intents")
    options = parser.parse_args()
    table = pd.read_csv(options.results / "baselines/baselines.csv", comment="#")
    asked, intents = clinc150.queries(options.data_dir, "test")
    prepared = preparation(asked, clinc150.tokenizer(options.data_dir))
    model = fitted(*clinc150.queries(options.data_dir, "train"))
    right = round(model.score(asked, intents) * len(asked))
    svm = (1e3 * seconds(model, asked, BATCH), right / len(asked))
    print(f"texts to arrays: {prepared:.4f} ms a query; SVM: {svm[0]:.4f} ms, {svm[1]:.2%}")
    table["ms"] = table.ms_per_sample + prepared
    # Several budgets give one policy.
    same = table.kind.eq(POLICY) & table.duplicated(["accuracy", "macs"])
    table = table[~same]
    print(table.to_string())
    figure, axes = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    styles = {
        POLICY: ("o-", "policies"),
        SMALLER: ("s", "cut and trained alone"),
        FULL: ("D", FULL),
    }
    for kind, (style, label) in styles.items():
        own = table[table.kind == kind].sort_values("ms")
        bars = [own.accuracy - own.accuracy_low, own.accuracy_high - own.accuracy]
        axes.errorbar(own.ms, own.accuracy, yerr=bars, fmt=style, label=label, capsize=2, lw=1)
    low, high = wilson_interval(right, len(asked))
    bars = [[svm[1] - low], [high - svm[1]]]
    axes.errorbar(*svm, yerr=bars, fmt="^", label="linear SVM on TF-IDF of n-grams", capsize=2)
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [str(tick) for tick in TICKS])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=None))
    axes.set(xlabel="measured ms a query, from text to class", ylabel="accuracy on test (%)")
    axes.legend()
    figure.savefig(ROOT / "docs/intents.png", dpi=150)


def preparation(asked: list[str], tokenizer: object) -> float:
    """Median milliseconds in which a query becomes arrays, in batches."""
    times = []
    for first in range(0, BATCH * REPEATS, BATCH):
        batch = [asked[row % len(asked)] for row in range(first, first + BATCH)]
        start = time.perf_counter()
        texts.arrays(batch, tokenizer)
        times.append(1e3 * (time.perf_counter() - start) / len(batch))
    return statistics.median(times)


if __name__ == "__main__":
    main()
