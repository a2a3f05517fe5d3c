"""On PYTHONPATH: kills a whole run, as `kill -9` does, when one of the listed files is written.

That is right before the file takes its place: all work is done, nothing of it is kept. The list is
a file, named by KILLED_BEFORE; what was killed is taken off it.
"""

import os
import signal
from pathlib import Path

_replace = Path.replace


def replace(self, target):
    """`Path.replace`, unless `target` is on the list."""
    listed = Path(os.environ["KILLED_BEFORE"])
    waiting = listed.read_text().split()
    if str(target) in waiting:
        waiting.remove(str(target))
        listed.write_text("\n".join(waiting))
        os.killpg(os.getpgrp(), signal.SIGKILL)
    return _replace(self, target)


if "KILLED_BEFORE" in os.environ:
    Path.replace = replace
