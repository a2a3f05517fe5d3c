"""The calibration methods, as the schema names them."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
SCHEMA = yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())
_EXPERIMENT = SCHEMA["$defs"]["experiment"]["properties"]
METHODS = _EXPERIMENT["calibration"]["properties"]["methods"]["items"]["enum"]
