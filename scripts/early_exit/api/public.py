"""Eager imports of the public names, for type checkers, which don't run ``__getattr__``."""

from early_exit.api.arrays import from_logits, from_uncertainties
from early_exit.api.calibrated import CalibratedPolicy
from early_exit.api.folder import load
from early_exit.api.limits import Limit
from early_exit.api.results import ExitAccuracy, Frontier, Simulation, Sweep
from early_exit.api.run import Run
from early_exit.api.runner import EarlyExitRunner
from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy

__all__ = [
    "CalibratedPolicy",
    "EarlyExitRunner",
    "ExitAccuracy",
    "ExitCriterion",
    "Frontier",
    "InputError",
    "Limit",
    "Policy",
    "Run",
    "Simulation",
    "Sweep",
    "from_logits",
    "from_uncertainties",
    "load",
]
