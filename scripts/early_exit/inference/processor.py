"""What the processor is, and which precisions it has instructions for."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

# Flags of /proc/cpuinfo, by precision: any of them multiplies in it. Without one it is emulated:
# converted to fp32, or done in several instructions.
INSTRUCTIONS = {
    "bf16": ("avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"),
}
# Those of fp32, which tell how wide its vectors are.
VECTORS = ("avx2", "avx512f", "asimd", "sve")
CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """Name of the processor, if the system reports it."""
    return _first("model name") or platform.processor()


def flags() -> list[str]:
    """Flags of the processor that bear on the speed of networks, in order; empty if not known."""
    own = {*(_first("flags") or _first("Features")).split()}
    named = (*VECTORS, *(flag for some in INSTRUCTIONS.values() for flag in some))
    return [flag for flag in named if flag in own]


def is_emulated(precision: str) -> bool:
    """Whether the processor lacks instructions for a precision; of fp32 never."""
    return precision in INSTRUCTIONS and not {*INSTRUCTIONS[precision]} & {*flags()}


@cache
def _first(key: str) -> str:
    """The first value of a key in /proc/cpuinfo, or an empty text."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in pairs if name.strip() == key), "")
