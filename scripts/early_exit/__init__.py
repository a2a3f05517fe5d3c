"""Early-exit networks: records, thresholds, costs and policies.

``early_exit.load`` opens the results of a workflow run, ``early_exit.from_logits`` takes arrays;
both return a :class:`~early_exit.api.run.Run`. The public names are listed in
:mod:`early_exit.api.names` and imported on first use, so ``import early_exit`` is fast and imports
neither torch nor pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from early_exit.api.public import *  # noqa: F403


# Kept in early_exit.api.names, as the code fingerprint of every job includes this file.
def __getattr__(name: str) -> Any:
    public = import_module("early_exit.api.names").PUBLIC
    if name == "__all__":
        return ["__version__", *public]
    if name not in public:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(public[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module("early_exit.api.names").PUBLIC})
