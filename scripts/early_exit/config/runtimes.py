"""Backends that run a network, and the precisions that each has."""

from __future__ import annotations

from typing import Any

from early_exit.errors import InputError

# Precisions of each backend, the first its own default.
PAIRS = {
    "torch": ("fp32", "bf16"),
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
}
# What records are made with, and policies run with, unless the configuration says otherwise.
REFERENCE = ("torch", "fp32")


def check_pair(backend: str, precision: str, device: str, where: str) -> None:
    """Refuse a precision, or a device, that a backend lacks; ``where`` names the setting.

    Raises
    ------
    InputError
        Naming the precisions that the backend has, or the device.
    """
    if precision not in PAIRS[backend]:
        others = [name for name, own in PAIRS.items() if precision in own]
        raise InputError(
            f"{where}.precision: {backend} has no {precision}",
            f"set it to {' or '.join(PAIRS[backend])}, or the backend to {' or '.join(others)}",
        )
    if device != "cpu" and backend != "torch":
        raise InputError(f"{where}.device: {backend} runs on the cpu here", "set it to cpu")


def check_inference(inference: dict[str, Any], where: str) -> None:
    """As :func:`check_pair`, of the setting ``inference``."""
    check_pair(*(inference[key] for key in ("backend", "precision", "device")), where)


def is_reference(backend: str, precision: str) -> bool:
    """Whether it is torch in fp32, of which provenance makes no mention."""
    return (backend, precision) == REFERENCE
