"""Inspection of a pickle before it is unpickled; none of it is run."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from mmap import mmap
from typing import IO

# Most items of a tuple, nested ones counted as often as they appear.
MOST_IN_A_TUPLE = 100_000
TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
GETS = {"GET", "BINGET", "LONG_BINGET"}
PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
MARK = -1


def classes(pickled: IO[bytes] | mmap) -> Iterator[str]:
    """Names of the classes and functions in a pickle, up to its end.

    Raises
    ------
    ValueError
        If it is no pickle, or if hashing one of its tuples would take exponential time: one that
        contains another twice, which contains another twice, and so on.
    """
    texts = ["", ""]
    stack: list[int] = []
    memo: dict[int, int] = {}
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name in ("GLOBAL", "INST"):
            yield argument.replace(" ", ".")
        elif operation.name == "STACK_GLOBAL":
            yield ".".join(texts)
        elif isinstance(argument, str):
            texts = [texts[-1], argument]
        if _step(operation, argument, stack, memo) > MOST_IN_A_TUPLE:
            raise ValueError("its tuples are nested too deeply")


def _step(
    operation: pickletools.OpcodeInfo, argument: object, stack: list[int], memo: dict[int, int]
) -> int:
    """Apply an operation to the stack, which holds the number of items to hash of each object.

    Returns the size of the tuple that it makes, or 0.
    """
    if operation.name == "MARK":
        stack.append(MARK)
        return 0
    if operation.name in PUTS or operation.name == "MEMOIZE":
        memo[int(argument) if operation.name in PUTS else len(memo)] = stack[-1] if stack else 1
        return 0
    if operation.name in GETS:
        stack.append(memo.get(int(argument), 1))
        return 0
    taken = _popped(operation, stack)
    if operation.name in TUPLES:
        stack.append(1 + sum(taken))
        return stack[-1]
    if operation.name == "DUP":
        stack += taken * 2
        return 0
    stack += [1] * len(operation.stack_after)
    return 0


def _popped(operation: pickletools.OpcodeInfo, stack: list[int]) -> list[int]:
    """Pop the operands of an operation, without marks."""
    before = operation.stack_before
    taken = []
    if pickletools.markobject in before:
        while stack and (top := stack.pop()) != MARK:
            taken.append(top)
        # Operands below the mark.
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        taken += [stack.pop()] if stack and stack[-1] != MARK else []
    return taken
