"""The calibration methods, as the schema names them."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
SCHEMA = yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())
METHODS = SCHEMA["$defs"]["method"]["enum"]
