"""Results of a run without measured times, to compare two runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

# Names of columns and keys that hold times, or checksums of files that do.
TIMED = re.compile(r"ms|second|speed|timing|doubt|costs|checksum|regroup|rounds")
# Columns of tables that measure speed.
MEASURED = {
    *("full_network", "all_heads", "dynamic", "ideal", "overhead", "break_even"),
    *("predicted", "measured", "error", "megabytes", "memory_mb"),
}
# Figures that show no time.
UNTIMED = ("exit_accuracy", "reliability", "frontier", "methods", "uncertainty", "samples")


def lasting(folder: Path) -> dict[str, Any]:
    """The content of each file below ``folder`` by its name; of timed figures and pages nothing."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {str(path.relative_to(folder)): path for path in files}
    return {
        name: _content(path)
        for name, path in names.items()
        if not {"logs", "benchmarks"} & set(Path(name).parts)
    }


def _content(path: Path) -> Any:
    if path.suffix == ".csv":
        table = pd.read_csv(path, comment="#")
        kept = [name for name in table if not TIMED.search(name) and name not in MEASURED]
        return table[kept].to_csv()
    if path.suffix == ".json":
        return _untimed(json.loads(path.read_text()))
    if path.suffix == ".html" or (path.parent.name == "figures" and path.stem not in UNTIMED):
        return None
    return path.read_bytes()


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untimed(each) for key, each in value.items() if not TIMED.search(key)}
    return value
