"""External weights of a job: one file, or the index of several with its files."""

import hashlib
from pathlib import Path

from early_exit.io.files import sha256
from early_exit.io.weight_files import weight_files


def first_of(given):
    """Path of the file, or the index, of an input; `None` without any."""
    paths = [given] if isinstance(given, str) else list(given or [])
    return Path(paths[0]) if paths else None


def weights_checksum(path):
    """SHA-256 of a file of weights; of several files, over the checksums of all."""
    checksums = [sha256(file) for file in weight_files(path)]
    if len(checksums) == 1:
        return checksums[0]
    return hashlib.sha256("\n".join(checksums).encode()).hexdigest()
