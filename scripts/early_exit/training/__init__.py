"""Training a multi-exit network, all exits jointly.

The loss is BranchyNet's (Teerapittayanon et al. 2016, section III-B, equation 2), the schedule one
cycle (Smith and Topin 2018). A :class:`Recipe` says what else is done. Training that is killed goes
on from its last finished epoch; see :mod:`early_exit.training.state`.
"""

from early_exit.training.loop import train
from early_exit.training.recipe import Recipe
from early_exit.training.state import SavedState

__all__ = ["Recipe", "SavedState", "train"]
