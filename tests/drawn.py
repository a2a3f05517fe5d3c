"""Small made-up tables for all figures, and what is wrong with the layout of a drawn figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from early_exit.analysis import frontier, study
from early_exit.analysis.drift_simulation import simulate_drift
from early_exit.analysis.evaluation import (
    evaluate,
    per_class,
    per_exit,
    points_on_test,
    samples_table,
    simulated,
)
from early_exit.analysis.reliability import of_exits
from early_exit.analysis.reproduction import reproduce
from early_exit.analysis.summary import summarise
from early_exit.analysis.uncertainty import histograms
from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.targets import Target
from early_exit.calibration.temperature import fit
from early_exit.config.runtimes import PAIRS
from early_exit.figures.samples import choose
from early_exit.policy.agreement import Agreement
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.description import describe
from early_exit.policy.operating_point import feasible, policy_of
from early_exit.policy.policy import Policy
from early_exit.policy.sweep import sweep, threshold_grid
from helpers import make_costs, make_records

TARGETS = (Target("accuracy", 0.5), Target("drop", 0.1), Target("macs_share", 0.7))
NAMES = ("ant", "b_$e", "cow", "a name of more than 24 letters")
# Figures by the module that draws them.
FIGURES = (
    *("sweep", "operating_points", "targets", "exit_shares", "exit_accuracy", "per_class"),
    *(
        "uncertainty",
        "cost",
        "samples",
        "learning_curve",
        "frontier",
        "methods",
        "attainable",
        "reliability",
    ),
    *("reproduction", "study", "scalability", "speed", "latency", "runtimes", "drift", "baselines"),
)


def tables_of(
    exits: int = 3,
    targets: Sequence[Target] = TARGETS,
    methods: Sequence[str] = ("percentile",),
    samples: int = 60,
    names: Sequence[str] = NAMES,
    experiment: str = "made",
    chosen: int = -1,
    policy: Policy | None = None,
    doubt: str | None = None,
    images: bool = True,
) -> dict[str, Any]:
    """The tables of a finished experiment.

    ``chosen`` is the place of the chosen policy among those of the first method, unless ``policy``
    is given.
    """
    calibration, test = (make_records(samples, exits, len(names), seed) for seed in (1, 2))
    costs = make_costs(exits)
    points = [calibrate(m, calibration, costs, targets, ExitCriterion()) for m in methods]
    row = feasible(points[0]).iloc[chosen]
    own = policy or policy_of(row)
    if policy:
        extra = row.copy()
        extra[[f"threshold_{k}" for k in range(1, exits)]] = policy.thresholds
        points[0] = pd.concat([points[0], pd.DataFrame([extra])], ignore_index=True)
    run = simulated(own, test)
    description = {"policy": own.to_json(), "method": row.method, "target": row.target, "why": "so"}
    description |= {"target_kind": row.target_kind, "certificate": None}
    measured = {"full_network": 2.0, "all_heads": 2.5, "policy": 1.0, "ideal": 0.9}
    result = evaluate(own, test, run, Agreement(samples, 0, 0), costs, measured)
    result |= {"timing": {"batch_size": 8, "threads": 2}, "doubt": doubt}
    manifest = {"dataset": "made", "classes": len(names)}
    grid = threshold_grid("entropy", len(names), 20)
    taken = samples_table(test, run)
    shown = choose(taken.exit.to_numpy(), (taken.label == taken.prediction).to_numpy())
    pixels = np.random.default_rng(0).integers(0, 256, (samples, 8, 8, 3), np.uint8)
    return {
        "experiment": experiment,
        "sweep": pd.concat(
            [sweep(test, costs, ExitCriterion(rule=rule), grid) for rule in ExitRule]
        ),
        "points": points_on_test(points, own, test, costs),
        "per_exit": per_exit(own, test, run, costs),
        "per_class": per_class(test, run, dict(enumerate(names))),
        "summary": summarise(experiment, "small", manifest, calibration, test, description, result),
        "uncertainty": histograms(calibration.uncertainty, calibration.correct),
        "costs": parts(exits),
        "machine": {"batch_size": 8, "as_published_ms": 3.0, "policy_ms": 0.6}
        | {"as_published": "branchynet"},
        "samples": taken,
        "shown": shown,
        "images": dict(enumerate(pixels)) if images else None,
        "class_names": list(names),
        "training": training(exits),
        "drift": drifted(description, calibration, test, costs),
        "reproduction": reproduce(*[make_records(600, 6, 10, seed) for seed in (3, 4)]),
        **compared(calibration, test, costs),
        **timed(),
    }


def parts(exits: int) -> pd.DataFrame:
    """A cost table of one batch size."""
    rows = [
        {"part": part, "exit": k, "batch_size": 8, "macs": macs * k, "ms_per_sample": ms * k}
        for k in range(1, exits + 1)
        for part, macs, ms in (("stage", 10e6, 1.0), ("head", 1e6, 0.1), ("overhead", 0, 0.01))
    ]
    return pd.DataFrame(rows)


def training(exits: int) -> pd.DataFrame:
    """A log of two epochs."""
    log = {"epoch": [1, 2], "loss": [1.5, 0.75], "seconds": [60.0, 30.0]}
    return pd.DataFrame(
        log | {f"accuracy_{k}": [0.1 + 0.05 * k, 0.35 + 0.05 * k] for k in range(1, exits + 1)}
    )


def compared(calibration, test, costs) -> dict[str, pd.DataFrame]:
    """Small tables of the frontier, the study and reliability."""
    methods = ["exact_grid", "uniform", "certified"]
    chosen = frontier.policies(calibration, costs, [ExitCriterion()], methods, 4, 0.1)
    targets = [Target("macs_share", 0.5), Target("drop", 0.1)]
    pool = study.pool(calibration, test)
    size = len(calibration)
    runs = study.compare(pool, costs, ExitCriterion(), True, methods, targets, size, 2)
    exits, bins = of_exits([test], fit(calibration), ["entropy"])
    return {
        "policies": chosen,
        "frontier": frontier.on_test(chosen, test, costs),
        "study": study.summarise(runs.assign(measure="entropy", scaled=True)),
        "exits": exits,
        "bins": bins,
    }


def drifted(chosen, calibration, test, costs) -> pd.DataFrame:
    """A small table of the drift simulation; no sample is corrupted."""
    content = describe(
        chosen | {"calibration": {"accuracy": 0.5, "macs": 2e7}}, calibration, costs, {}
    )
    kinds = {(kind, n): test for kind in ("noise", "blur", "contrast") for n in (1, 2, 3)}
    return simulate_drift(content, test, kinds, costs, [max(4, len(test) // 3)], 2)


def timed() -> dict[str, pd.DataFrame]:
    """Tables of the steps that take times."""
    kinds = ["policy"] * 3 + ["smaller network"] * 2 + ["full network"]
    accuracy = np.array([0.7, 0.8, 0.9, 0.72, 0.86, 0.91])
    sizes = [1_000, 10_000, 100_000]
    methods = ["uniform", "coordinate", "dynamic_programming", "certified_path"]
    return {
        "speed": pd.DataFrame(
            {
                "precision": ["fp32"] * 2 + ["bf16"] * 2,
                "batch_size": [1, 8] * 2,
                "full_network": [2.0, 1.0, 1.8, 0.9],
                "all_heads": [2.2, 1.1, 2.0, 1.0],
                "dynamic": [1.0, 0.6, 0.9, 0.5],
                "ideal": [0.9, 0.55, 0.8, 0.45],
                "overhead": [1.11, 1.09, 1.12, 1.11],
                "speedup": [2.0, 1.67, 2.0, 1.8],
                "accuracy": [0.83] * 4,
                "break_even": [0.2, 0.15, None, None],
            }
        ),
        "latency": latency(),
        "predicted": pd.DataFrame(
            {
                "predicted": [1.0, 0.5],
                "measured": [1.1, 0.5],
                "early": [0.2, 0.8],
                "error": [-0.09, 0.0],
            }
        ),
        "runtimes": pd.DataFrame(
            [
                {
                    "backend": backend,
                    "precision": precision,
                    "batch_size": size,
                    "accuracy": 0.83,
                    "accuracy_fp32_policy": 0.82,
                    "accuracy_same_macs": 0.83,
                    "ms_full": 2.0,
                    "ms_policy": 1 / size**0.5,
                    "ms_ideal": 0.9 / size**0.5,
                    "speedup": 2.0,
                    "speedup_published": 12.0,
                    "memory_mb": 30.0,
                    "file_mb": 2.0,
                    "emulated": precision == "bf16",
                }
                for backend, own in PAIRS.items()
                for precision in own
                for size in (1, 8, 32, 128, 512)
            ]
        ),
        "baselines": pd.DataFrame(
            {
                "kind": kinds,
                "exit": [np.nan] * 3 + [1, 3, np.nan],
                "ms_per_sample": [0.2, 0.3, 0.5, 0.21, 0.33, 1.0],
                "accuracy": accuracy,
                "accuracy_low": accuracy - 0.02,
                "accuracy_high": accuracy + 0.02,
            }
        ),
        "scalability": pd.DataFrame(
            [
                {"what": what, "samples": n, "policies": np.nan, "seconds": n / 1e5 * (k + 1)}
                for k, what in enumerate(methods)
                for n in sizes
            ]
            + [
                {"what": "exact_grid, largest", "samples": 10_000, "policies": 8e6, "seconds": 3.0},
                {"what": "sweep", "samples": 1_000_000, "policies": 1_000, "seconds": 5.0},
            ]
        ).assign(cpu_seconds=lambda table: table.seconds, megabytes=100.0),
    }


def latency() -> pd.DataFrame:
    """A table of latencies, of a policy whose target is a number and of one of the user."""
    table = pd.DataFrame(
        {
            "kind": ["policy", "chosen policy", "policy", "full network"],
            "method": ["coordinate", "thresholds", "a_method_of_a_long_name", "full_network"],
            "target_kind": ["drop", None, "macs_share", None],
            "target": [0.01, np.nan, 0.25, np.nan],
            "measure": ["margin", "entropy", "max_probability", "margin"],
            "accuracy": [0.8, 0.85, 0.9, 0.91],
            "macs": [1e6, 2e6, 3e6, 4e6],
            "early": [0.9, 0.7, 0.2, 0.0],
        }
    )
    for name, factor in (("p50_ms", 1.0), ("p95_ms", 1.5), ("p99_ms", 2.5), ("mean_ms", 1.1)):
        ms = factor * np.array([0.4, 0.5, 0.9, 1.0])
        table = table.assign(**{name: ms, f"{name}_low": 0.9 * ms, f"{name}_high": 1.2 * ms})
    return table.assign(predicted_ms=table.mean_ms, rounds=9, samples=1000)


def faults(figure: Figure) -> Iterator[str]:
    """What is wrong with a figure: texts that overlap, leave it, or are struck by an error bar."""
    found, canvas = texts(figure), figure.bbox
    for text, box in found:
        inside = canvas.x0 - 1 <= box.x0 and box.x1 <= canvas.x1 + 1
        if not (inside and canvas.y0 - 1 <= box.y0 and box.y1 <= canvas.y1 + 1):
            yield f"{text!r} runs off the figure"
    for (text, box), (other, below) in combinations(found, 2):
        if overlap(box, below):
            yield f"{text!r} overlaps {other!r}"
    bars = list(error_bars(figure))
    for text, box in found:
        if any(bar.intersects_bbox(box, filled=False) for bar in bars):
            yield f"{text!r} is struck by an error bar"


def texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """All visible texts with their bounding boxes."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    found = [*figure.texts, *(t for legend in figure.legends for t in legend.get_texts())]
    for axes in filter(lambda axes: axes.get_visible(), figure.axes):
        found += axes.texts
        found += axes.get_legend().get_texts() if axes.get_legend() else []
        # Titles stand on the left, in the middle or on the right.
        found += [axes.title, axes._left_title, axes._right_title]
        if axes.axison:
            found += [axes.xaxis.label, axes.yaxis.label]
            found += [*ticks(axes.xaxis, axes.get_xlim()), *ticks(axes.yaxis, axes.get_ylim())]
    shown = [text for text in found if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in shown]


def ticks(axis: Axis, limits: tuple[float, float]) -> list[Text]:
    """Labels of the ticks within the limits; matplotlib does not draw the others."""
    low, high = sorted(limits)
    every = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    drawn = [tick for tick in every if low <= tick.get_loc() <= high]
    return [tick.label1 for tick in drawn if tick.label1.get_visible()] + [axis.get_offset_text()]


def error_bars(figure: Figure) -> Iterator[Path]:
    """The lines of all error bars, in pixels, as far as they are within their axes."""
    for axes in filter(lambda axes: axes.get_visible(), figure.axes):
        held = [item for item in axes.containers if isinstance(item, ErrorbarContainer)]
        for lines in (collection for item in held for collection in item[2]):
            for segment in lines.get_segments():
                ends = axes.transData.transform(segment)
                low, high = axes.bbox.min, axes.bbox.max
                if np.isfinite(ends).all() and axes.bbox.overlaps(Bbox(ends)):
                    yield Path(np.clip(ends, low, high))


def overlap(one: Bbox, other: Bbox) -> bool:
    """Whether two boxes overlap by more than a pixel in both directions."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > 1 and height > 1
