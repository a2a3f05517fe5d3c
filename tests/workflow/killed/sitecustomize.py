"""On PYTHONPATH: kills a whole run, or holds it up, when one of the listed files is written.

That is right before the file takes its place: all work is done, nothing of it is kept. The list is
a file. Where KILLED_BEFORE names it, the process group gets the signal 9, and what was killed is
taken off the list; where DIED_BEFORE does, the job alone gets it; where HELD_BEFORE does, the job
says so in it, and goes on when it is gone.
"""

import os
import signal
import time
from pathlib import Path

_replace = Path.replace


def killed(listed, waiting, target):
    """As `kill -9` does."""
    waiting.remove(target)
    listed.write_text("\n".join(waiting))
    os.killpg(os.getpgrp(), signal.SIGKILL)


def died(listed, waiting, target):
    """The job alone, as the system does that has no memory left."""
    listed.unlink()
    os.kill(os.getpid(), signal.SIGKILL)


def held(listed, waiting, target):
    """Until the list is gone."""
    listed.write_text("held")
    while listed.exists():
        time.sleep(0.05)


ACTS = {"KILLED_BEFORE": killed, "DIED_BEFORE": died, "HELD_BEFORE": held}

for name, act in ACTS.items():
    if name in os.environ:

        def replace(self, target, listed=Path(os.environ[name]), act=act):
            """`Path.replace`, unless `target` is on the list."""
            waiting = listed.read_text().split() if listed.exists() else []
            if str(target) in waiting:
                act(listed, waiting, str(target))
            return _replace(self, target)

        Path.replace = replace
