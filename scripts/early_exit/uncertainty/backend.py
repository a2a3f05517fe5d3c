"""numpy and torch alike: which of them an array belongs to."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import scipy.special


def arrays(array: Any) -> Any:
    """``numpy`` or ``torch``, whichever made the array; torch is not imported for it."""
    return sys.modules["torch"] if _is_torch(array) else np


def special(array: Any) -> Any:
    """``scipy.special`` or ``torch.special``: both have a stable ``softmax`` and ``entr``."""
    return sys.modules["torch"].special if _is_torch(array) else scipy.special


def _is_torch(array: Any) -> bool:
    return type(array).__module__.startswith("torch")
