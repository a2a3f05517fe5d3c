"""Names of the calibration methods in the schema."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
SCHEMA = yaml.safe_load((ROOT / "scripts/early_exit/config/schema.yaml").read_text())
METHODS = SCHEMA["$defs"]["method"]["enum"]
