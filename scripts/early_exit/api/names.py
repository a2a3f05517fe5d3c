"""Public names of :mod:`early_exit`, each with the module that defines it."""

from __future__ import annotations

PUBLIC = {
    "load": "early_exit.api.folder",
    "from_logits": "early_exit.api.arrays",
    "from_uncertainties": "early_exit.api.arrays",
    "Run": "early_exit.api.run",
    "Sweep": "early_exit.api.results",
    "Simulation": "early_exit.api.results",
    "ExitAccuracy": "early_exit.api.results",
    "Frontier": "early_exit.api.results",
    "Limit": "early_exit.api.limits",
    "Policy": "early_exit.policy.policy",
    "ExitCriterion": "early_exit.policy.criterion",
    "CalibratedPolicy": "early_exit.api.calibrated",
    "EarlyExitRunner": "early_exit.api.runner",
    "InputError": "early_exit.errors",
}
