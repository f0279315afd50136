"""ONNX Runtime's execution providers: each is one row of a table.

In: what a session is loaded with. Out: the provider's name and the options that it takes. A processor that ONNX Runtime
knows is added by a row here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from semblance.card import Precision
from semblance.inference.backends.options import LoadOptions

Options = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Provider:
    """One execution provider, as users name it and as ONNX Runtime does."""

    name: str
    provider: str
    install: str  # the command that brings it
    options: Callable[[LoadOptions], Options]
    threads: Literal["all", "one"]  # the default for its host's pool: a device leaves it nothing to do
    precision: Precision  # the narrowest that it gains by: what to export for it
    precisions: tuple[Precision, ...]  # those it computes in; others would run elsewhere, or as fp32

    @property
    def is_cpu(self) -> bool:
        """Whether it is the one provider to which all others would fall back."""
        return self.name == "cpu"


def _none(load: LoadOptions) -> Options:
    return {}


def _cuda(load: LoadOptions) -> Options:
    return {
        "device_id": str(load.device),
        # TF32 rounds the operands of a float32 product to 10 bits: off, so that fp32 means fp32
        "use_tf32": str(int(load.gpu.tf32)),
    }


PROVIDERS: dict[str, Provider] = {
    row.name: row
    for row in (
        Provider("cpu", "CPUExecutionProvider", "pip install 'semblance[cpu]'", _none, "all", "int8",
                 ("fp32", "fp16", "int8")),
        Provider("cuda", "CUDAExecutionProvider", "pip install 'semblance[gpu]'", _cuda, "one", "fp16",
                 ("fp32", "fp16")),
    )
}  # fmt: skip
