"""Multi-exit networks: a class with ``stages`` and ``heads``, built, loaded and saved.

A network is one module of :mod:`early_exit.networks.zoo` with a class ``Network``, a
:class:`MultiExitNetwork`, and its name in ``scripts/early_exit/config/schema.yaml``. Or it is a
class in a user's file, named ``path/to/file.py:ClassName``; see
:mod:`early_exit.networks.custom`.
"""

from early_exit.networks.base import MultiExitNetwork

__all__ = ["MultiExitNetwork"]
