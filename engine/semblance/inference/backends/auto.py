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
from semblance.inference.backends.wheels import installed_wheels, onnxruntime, version_of

# Of the devices that are tried before the CPU. TensorRT is not: it builds its engines for minutes, so it has to be
# asked for, or found to be the fastest by `semblance tune`
_DEVICES = ("cuda", "migraphx", "directml", "coreml")


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend, and why it is that one."""

    backend: str
    why: str


def candidates(precision: Precision, *, tuned: Choice | None = None) -> list[Choice]:
    """Backends in the order in which they are to be tried; the first that runs is used. Empty: none is installed."""
    by_rule = _by_rule(precision)
    return by_rule if tuned is None else [tuned, *(each for each in by_rule if each.backend != tuned.backend)]


def missing() -> RuntimeMissing | None:
    """Why there is no ONNX Runtime to choose from: none is installed, or several, or one that is broken."""
    try:
        onnxruntime()
    except RuntimeMissing as error:
        return error
    return None


def _by_rule(precision: Precision) -> list[Choice]:
    found = []
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
        found.append(Choice(OPENVINO, _why_openvino(is_alone=not providers)))
    return found


def _why_openvino(*, is_alone: bool) -> str:
    if not is_alone:
        return "the other backend for a CPU"
    if not installed_wheels():
        return "the only backend for a CPU that is installed"
    return f"the only backend for a CPU that can be used: {missing()}"


def _providers() -> list[str]:
    if missing():
        return []
    available: list[str] = onnxruntime().get_available_providers()
    return available
