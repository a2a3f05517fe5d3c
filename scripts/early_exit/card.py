"""The card of a shipped checkpoint: what it is, how good it is, and how it was made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import yaml

from early_exit.records import Records

COLUMNS = ("exit", "macs", "accuracy_calibration", "accuracy_test")
# Networks that it was made from, and what they were to it.
FROM = {"start": "began with the weights of", "teacher": "learned from"}


def make_card(
    name: str,
    experiment: str,
    identity: dict[str, Any],
    manifest: dict[str, Any],
    splits: tuple[Records, Records],
    macs: list[int],
    log: pd.DataFrame,
    file: dict[str, Any],
) -> dict[str, Any]:
    """All that the card states.

    Parameters
    ----------
    name
        The checkpoint's, without a suffix.
    experiment
        What made it, such as ``cifar10@0``.
    identity
        The trained network's own: ``network``, ``data``, ``training``, ``seed``; ``start`` and
        ``teacher``, SHA-256 of what it began with and learned from, where there was such a file.
    manifest
        The data set's.
    splits
        Records of the calibration and of the test split.
    macs
        Shape (K,), of a sample that leaves at each exit, no head run on the way.
    log
        A row an epoch.
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
        "network": identity["network"],
        "dataset": manifest["dataset"],
        "data": {key: manifest[key] for key in ("digest", "settings", "files")},
        "samples": {"calibration": len(calibration), "test": len(test)},
        "exits": [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)],
        "training": identity["training"],
        "seed": identity["seed"],
        **{key: identity[key] for key in FROM if key in identity},
        "minutes": round(float(np.sum(log.seconds)) / 60, 1),
        "file": file,
    }


def markdown(card: dict[str, Any]) -> str:
    """The card for people."""
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
{card["seed"]}. Made by

```sh
{card["command"]}
```

in {card["minutes"]} minutes of training. The loss and the accuracy of each epoch are in
`{name}.csv`; this card for programs is `{name}.json`.

| exit | M MACs | calibration ({samples["calibration"]}) | test ({samples["test"]}) |
|---|---|---|---|
{table}

M MACs are those of a picture that leaves there, no head run on the way. Nothing was chosen by the
test split; on the calibration split nothing was trained.

- `{name}.safetensors`: {card["file"]["bytes"]:,} bytes, SHA-256
  `{card["file"]["sha256"]}`
- data: digest `{card["data"]["digest"]}`
{settings}{made_from}- recipe:

```yaml
{recipe}```
"""
