"""Write docs/configuration.md from the schema; with --check, only compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "scripts/early_exit/config/schema.yaml"
PAGE = ROOT / "docs/configuration.md"

INTRODUCTION = """\
# Configuration

Made from `scripts/early_exit/config/schema.yaml` by `make docs`; edit there.

`config.yaml` holds these keys. An unknown key is an error that names it and the nearest known one.
"""

MERGING = """
## Settings of an experiment

Under `defaults` for all experiments, under `experiments.NAME` for one. A map merges with what is
set before it, a list replaces it. The column *default* holds where neither sets a key.
"""


def page(schema: dict[str, Any]) -> str:
    """The whole page, as Markdown."""
    lines = [INTRODUCTION, "| key | default | meaning |", "|---|---|---|"]
    named = schema["$defs"]
    lines += [row(key, part, named) for key, part in schema["properties"].items()]
    lines += [MERGING, "| key | default | meaning |", "|---|---|---|"]
    lines += rows(named["experiment"], "", named)
    return "\n".join(lines) + "\n"


def rows(part: dict[str, Any], prefix: str, named: dict[str, Any]) -> list[str]:
    """A row for each key of a map, its own keys below it; ``named`` holds shared definitions."""
    lines = []
    for key, value in part["properties"].items():
        lines.append(row(prefix + key, value, named))
        if "properties" in value:
            lines += rows(value, f"{prefix}{key}.", named)
    return lines


def row(key: str, part: dict[str, Any], named: dict[str, Any]) -> str:
    """One key: its default, its choices and its meaning."""
    default = f"`{yaml_text(part['default'])}`" if "default" in part else ""
    values = part.get("items", part)
    if "$ref" in values:
        values = named[values["$ref"].rpartition("/")[2]]
    # Of what may be one of some names, or something else, the names.
    choices = next((one["enum"] for one in values.get("anyOf", [values]) if "enum" in one), None)
    meaning = part["description"].strip()
    if choices:
        meaning += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    return f"| `{key}` | {default} | {meaning} |"


def yaml_text(value: Any) -> str:
    """A default as it would be written in the file."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).split("\n...")[0].strip()


def main() -> None:
    text = page(yaml.safe_load(SCHEMA.read_text(encoding="utf-8")))
    if "--check" not in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        sys.exit(f"{PAGE.relative_to(ROOT)} is not what {SCHEMA.relative_to(ROOT)} says: make docs")


if __name__ == "__main__":
    main()
