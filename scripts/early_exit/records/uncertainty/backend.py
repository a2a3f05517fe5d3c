"""The array library, numpy or torch, of an array, and functions that both share.

Exports have copies of the modules in this folder, and need no scipy.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def arrays(array: Any) -> Any:
    """``numpy`` or ``torch``, the library of the array; torch is never imported here."""
    return sys.modules["torch"] if _is_torch(array) else np


def special(array: Any) -> Any:
    """``scipy.special`` or ``torch.special``; both have a stable ``softmax`` and ``entr``."""
    if _is_torch(array):
        return sys.modules["torch"].special
    import scipy.special

    return scipy.special


def like(array: Any, values: Any) -> Any:
    """``values`` as an array of the library, type and device of ``array``."""
    if _is_torch(array):
        return sys.modules["torch"].as_tensor(values, dtype=array.dtype, device=array.device)
    return np.asarray(values, array.dtype)


def log_softmax(logits: Any) -> Any:
    """Logarithms of the class probabilities, shape ``(..., C)``."""
    functions = arrays(logits)
    shifted = logits - functions.amax(logits, -1)[..., None]
    return shifted - functions.log(functions.exp(shifted).sum(-1))[..., None]


def largest_two(values: Any) -> tuple[Any, Any]:
    """The largest and the second largest of ``values`` ``(..., C)``, C at least 2."""
    if _is_torch(values):
        # A third of the time of a sort.
        return values.topk(2, -1).values.unbind(-1)
    ordered = np.partition(values, -2, axis=-1)
    return ordered[..., -1], ordered[..., -2]


def sigmoid(values: Any) -> Any:
    """1 / (1 + exp(-x)), elementwise."""
    functions = arrays(values)
    # Beyond, the result is 0 or 1 in single precision, and the exponential overflows.
    return 1 / (1 + functions.exp(-functions.clip(values, -60, 60)))


def _is_torch(array: Any) -> bool:
    return type(array).__module__.startswith("torch")
