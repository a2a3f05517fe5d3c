"""Model card of a shipped checkpoint: network, data, accuracies, costs and training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import yaml

from early_exit.records.table import Records

COLUMNS = ("exit", "macs", "accuracy_calibration", "accuracy_test")
# Networks that training used.
FROM = {"start": "initialised with the weights in", "teacher": "distilled from"}


def make_card(
    name: str,
    experiment: str,
    provenance: dict[str, Any],
    manifest: dict[str, Any],
    splits: tuple[Records, Records],
    macs: list[int],
    log: pd.DataFrame,
    file: dict[str, Any],
) -> dict[str, Any]:
    """The content of the card.

    Parameters
    ----------
    name
        File name of the checkpoint, without a suffix.
    experiment
        The experiment that trained it, such as ``cifar10@0``.
    provenance
        Of the trained network: ``network``, ``data``, ``training``, ``seed``; ``start`` and
        ``teacher``, the SHA-256 of its initial weights and of its teacher, if there were any.
    manifest
        Of the data set.
    splits
        Records of the calibration and test splits.
    macs
        K numbers, for a sample that exits at each exit with no earlier head run.
    log
        Training log, a row per epoch.
    file
        ``sha256`` and ``bytes`` of the checkpoint.
    """
    calibration, test = splits
    columns = (
        range(1, test.exits + 1),
        macs,
        calibration.correct.mean(axis=0).tolist(),
        test.correct.mean(axis=0).tolist(),
    )
    return {
        "name": name,
        "experiment": experiment,
        "command": f"snakemake --cores 2 ship --config run={experiment}",
        "network": provenance["network"],
        "dataset": manifest["dataset"],
        "data": {key: manifest[key] for key in ("digest", "settings", "files")},
        "samples": {"calibration": len(calibration), "test": len(test)},
        "exits": [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)],
        "training": provenance["training"],
        "seed": provenance["seed"],
        **{key: provenance[key] for key in FROM if key in provenance},
        "minutes": round(float(np.sum(log.seconds)) / 60, 1),
        "file": file,
    }


def markdown(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    name = card["name"]
    rows = [
        f"| {row['exit']} | {row['macs'] / 1e6:.2f} | {row['accuracy_calibration']:.2%} |"
        f" {row['accuracy_test']:.2%} |"
        for row in card["exits"]
    ]
    settings = "".join(
        f"  - {key}: {'its own' if value is None else value}\n"
        for key, value in card["data"]["settings"].items()
    )
    table = "\n".join(rows)
    recipe = yaml.safe_dump(card["training"], sort_keys=False, default_flow_style=False)
    made_from = "".join(
        f"- {words} the file of SHA-256\n  `{card[key]}`\n"
        for key, words in FROM.items()
        if key in card
    )
    samples = card["samples"]
    return f"""# {name}

The network `{card["network"]}`, trained on the train split of `{card["dataset"]}` with the seed
{card["seed"]}. Trained with

```sh
{card["command"]}
```

Training took {card["minutes"]} minutes. `{name}.csv` has the loss and accuracy of each epoch;
`{name}.json` is this card in machine-readable form.

| exit | M MACs | calibration ({samples["calibration"]}) | test ({samples["test"]}) |
|---|---|---|---|
{table}

M MACs are those of an image that exits there, without the earlier heads. The network was not
trained on the calibration split, and nothing was chosen on the test split.

- `{name}.safetensors`: {card["file"]["bytes"]:,} bytes, SHA-256
  `{card["file"]["sha256"]}`
- data: digest `{card["data"]["digest"]}`
{settings}{made_from}- recipe:

```yaml
{recipe}```
"""
