"""Which backend `auto` is: the fastest that was measured here, else a rule, tried until one runs.

In: a model's precision, and what `semblance tune` found for it on this machine. Out: names in the order in which they
are to be tried, each with the reason, which travels into the description of what runs where.
"""

from __future__ import annotations

from dataclasses import dataclass

from semblance.card import Precision
from semblance.errors import RuntimeMissing
from semblance.inference.backends.openvino import NAME as OPENVINO
from semblance.inference.backends.providers import PROVIDERS
from semblance.inference.backends.wheels import onnxruntime, version_of

# Of the devices that are tried before the CPU. TensorRT is not: it builds its engines for minutes, so it has to be
# asked for, or found to be the fastest by `semblance tune`
_DEVICES = ("cuda", "migraphx", "directml", "coreml")


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend, and why it is that one."""

    backend: str
    why: str


def candidates(precision: Precision, *, tuned: Choice | None = None) -> list[Choice]:
    """Backends in the order in which they are to be tried; the first that loads is used. Empty: none is installed."""
    found = [tuned] if tuned else []
    providers = _providers()
    for name in _DEVICES:
        row = PROVIDERS.get(name)
        if row is not None and row.provider in providers and precision in row.precisions:
            found.append(Choice(name, f"{row.provider} is in the onnxruntime that is installed"))
    has_openvino = version_of("openvino") is not None
    if precision == "bf16":
        if has_openvino:
            found.append(Choice(OPENVINO, "of the CPU's backends the one that computes in bf16"))
        return found
    if providers:
        found.append(Choice("cpu", "it starts soonest of the CPU's backends; `semblance tune` measures them"))
    if has_openvino:
        found.append(Choice(OPENVINO, "the only backend for a CPU that is installed"))
    return found


def _providers() -> list[str]:
    try:
        available: list[str] = onnxruntime().get_available_providers()
    except RuntimeMissing:
        return []
    return available
