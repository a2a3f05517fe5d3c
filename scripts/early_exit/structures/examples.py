"""Examples of inputs that are no images, as JSON: arrays, or dictionaries and tuples of them."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

# Samples that are kept of a data set.
EXAMPLES = 2
# Most values of a sample that a file may claim.
LARGEST = 2**27
# Kinds of types: booleans, integers and floating-point numbers.
KINDS = "biuf"


def encode(structure: Any) -> dict[str, Any]:
    """The first :data:`EXAMPLES` samples of arrays with the batch first, as JSON.

    A single sample is repeated. The values are compressed, as text.
    """
    if isinstance(structure, Mapping):
        return {"names": {name: encode(structure[name]) for name in sorted(structure)}}
    if isinstance(structure, list | tuple):
        return {"parts": [encode(one) for one in structure]}
    values = np.resize(np.asarray(structure[:EXAMPLES]), (EXAMPLES, *structure.shape[1:]))
    text = base64.b64encode(zlib.compress(values.tobytes(), 9)).decode()
    return {"dtype": values.dtype.str, "shape": list(values.shape[1:]), "examples": text}


def decode(described: Any) -> Any:
    """The arrays of :func:`encode`.

    Raises
    ------
    ValueError, KeyError, TypeError
        If they are not described so, or claim to be too large.
    """
    if "names" in described:
        # In one order, whatever the file's.
        return {str(name): decode(one) for name, one in sorted(described["names"].items())}
    if "parts" in described:
        return tuple(decode(one) for one in described["parts"])
    shape, dtype = [int(length) for length in described["shape"]], np.dtype(described["dtype"])
    if dtype.kind not in KINDS or min([1, *shape]) < 1 or math.prod(shape) > LARGEST:
        raise ValueError("no array of numbers")
    expected = EXAMPLES * math.prod(shape) * dtype.itemsize
    try:
        packed = base64.b64decode(described["examples"])
        # No more is unpacked than is claimed.
        content = zlib.decompressobj().decompress(packed, expected)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return np.frombuffer(content, dtype).reshape(EXAMPLES, *shape).copy()
