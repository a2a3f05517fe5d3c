"""Contents of explorers for tests: records, costs with several batch sizes, and policies."""

from __future__ import annotations

import numpy as np

from early_exit.analysis.frontier import of_method
from early_exit.explorer.page import Content
from early_exit.explorer.policies import offered
from early_exit.explorer.policy_file import described_text
from early_exit.explorer.thumbnails import chosen_rows, sprite
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.records.table import Records, from_logits

MEASURES = ("margin", "max_probability", "entropy")
# A name that would run as HTML, and others that could break out of a script or a table.
NASTY = (
    '<img src=x onerror="globalThis.harmed = 1">',
    "</script><script>globalThis.harmed = 1</script>",
    '"=1+1", \u2028 \\ \x00',
    "<!--",
)
MACHINE = {"machine": "x86_64", "threads": 1, "batch_size": 32, "regroup": 16}
IDENTITY = {"network": "n" * 64, "data": "d" * 64, "split": "calibration", "costs": "c" * 64}


def some_records(split: str, samples: int, exits: int, classes: int = 4, seed: int = 0) -> Records:
    """Records whose later exits are more certain and more accurate, with ties."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, samples)
    logits = rng.normal(size=(samples, exits, classes))
    for k in range(exits):
        logits[np.arange(samples), k, label] += 0.7 * (k + 1)
    logits[: samples // 10] = logits[0]
    provenance = IDENTITY | {"split": split}
    return from_logits(np.arange(samples), label, logits.astype(np.float32), provenance)


def some_costs(exits: int, seed: int = 0) -> CostModel:
    """Costs that are no round numbers, with times for five batch sizes."""
    rng = np.random.default_rng(seed)
    sizes = np.array([1.0, 8, 32, 128, 512])
    times = [
        part * rng.uniform(0.5, 1.5, exits) / np.sqrt(np.minimum(sizes, 64))[:, None]
        for part in (0.3, 0.05, 0.02)
    ]
    macs = np.floor(rng.uniform(0.5e6, 9e6, exits)), np.floor(rng.uniform(1e4, 1e6, exits))
    return CostModel(*macs, sizes, *times, 32, 16)


def some_content(
    samples: int = 600, exits: int = 4, rule: str = "below", measures: tuple = MEASURES
) -> Content:
    """The content of a page with policies, names that are not harmless, and thumbnails."""
    costs = some_costs(exits)
    criteria = [ExitCriterion(name, rule) for name in measures]
    sizes = {"calibration": samples, "test": samples // 2}
    splits = {
        split: some_records(split, size, exits, seed=seed).with_computed(
            *(own.key for own in criteria if own.needs_logits)
        )
        for seed, (split, size) in enumerate(sizes.items())
    }
    records = splits["calibration"]
    tables = [of_method(records, costs, own, "uniform", 6, 0.1) for own in criteria]
    chosen = Policy(criteria[-1], (0.25 if rule == "below" else 0.9,) * (exits - 1))
    rows = chosen_rows(records, most=30)
    images = np.random.default_rng(0).integers(0, 256, (len(rows), 3, 8, 8), dtype=np.uint8)
    manifest = {"dataset": "made up", "settings": {}, "shape": [3, 8, 8], "class_names": [*NASTY]}
    return Content(
        NASTY[0],
        splits,
        criteria,
        costs,
        policies=offered(tables, criteria, chosen),
        class_names=NASTY,
        facts=["made up", NASTY[1]],
        why="the test's choice",
        warnings=["do not trust these times"],
        policy_text=described_text(
            records, criteria[0], costs, MACHINE, "small", manifest, IDENTITY, "macs"
        ),
        folder="results/small",
        thumbnails=sprite(images) | {"rows": rows.tolist()},
    )
