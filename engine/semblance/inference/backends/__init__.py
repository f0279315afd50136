"""One file per backend, all behind one Protocol; `load` finds the one that was asked for.

In: an ONNX file, a backend's name and options. Out: a `Runner`. A backend that was asked for and cannot run is a
BackendError with its cause and remedy; nothing here ever falls back to another processor in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semblance.card import Precision
from semblance.errors import BackendError, RuntimeMissing
from semblance.inference.backends import auto, bound, openvino, ort
from semblance.inference.backends.auto import Choice
from semblance.inference.backends.options import GpuOptions, LoadOptions
from semblance.inference.backends.providers import PROVIDERS

__all__ = ["Choice", "GpuOptions", "LoadOptions", "Loaded", "Runner", "bulk_streams", "callers", "check_name", "chosen",
           "default_threads", "failures", "is_device", "load", "names", "open_session"]  # fmt: skip

_MOST_STREAMS = 4
_GENERAL = ("cpu", "cuda")  # rows that also run graphs without a card


class Runner(Protocol):
    """One graph, loaded on one processor."""

    @property
    def description(self) -> str:
        """What runs where, for people: runtime, version, provider, threads."""

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, H, W, C] uint8, C-contiguous -> [N, D] float32. Safe to call from several threads."""

    def release_memory(self) -> None:
        """Give back the host memory that earlier batches left reserved; the next one takes its own anew."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded, and why that."""

    backend: str
    runner: Runner
    why: str  # "" where it was asked for by name


def names() -> list[str]:
    """Every backend that can be asked for, `auto` first."""
    return ["auto", *PROVIDERS, openvino.NAME]


def bulk_streams(backend: str, threads: int) -> int:
    """How many batches at a time embed the most on `backend`, when they share `threads`.

    On a CPU threads that each have a batch of their own never wait for each other. More than a few only cost memory.
    """
    return min(threads, _MOST_STREAMS) if backend in ("auto", "cpu", openvino.NAME) else 1


def load(
    model: Path, backend: str, options: LoadOptions | Callable[[str], LoadOptions], *, tuned: Choice | None = None
) -> Loaded:
    """The graph in `model`, on the backend of that name; for `auto` on the first that runs of `auto.candidates`.

    `options` may depend on the backend, since threads mean something else to a device. Raises BackendError where it
    cannot run here, RuntimeMissing, ModelError.
    """
    check_name(backend)
    options_of = options if callable(options) else lambda name: options
    if backend != "auto":
        return Loaded(backend, _load(model, backend, options_of(backend)), "")
    refused = []
    precision = options_of(backend).precision
    choices = auto.candidates(precision, tuned=tuned)
    for choice in choices:
        own = options_of(choice.backend)
        try:
            runner = _load(model, choice.backend, own)
            if choice.backend != "cpu" and choice != choices[-1]:
                # a device may be full, or a graph refused by a compiler, which only the first batch finds
                runner.run(np.zeros((1, *own.shape), np.uint8))
        except BackendError as error:
            refused.append(f"{choice.backend}: {error}")
            continue
        why = "; ".join([choice.why, *(f"not {each}" for each in refused)])
        return Loaded(choice.backend, runner, why)
    if refused:
        raise BackendError("no backend runs this model here: " + "; ".join(refused))
    raise _none_installed(precision)


def _load(model: Path, backend: str, options: LoadOptions) -> Runner:
    if backend == openvino.NAME:
        return openvino.OpenVinoRunner(model, options)
    row = PROVIDERS[backend]
    if options.precision not in row.precisions:
        raise BackendError(
            f"backend {backend!r} does not compute in {options.precision}; it takes {', '.join(row.precisions)}: "
            "use that export of the model, or another backend"
        )
    if row.memory != "host":
        return bound.BoundRunner(model, row, options)
    return ort.OrtRunner(model, row, options)


def _none_installed(precision: Precision) -> RuntimeMissing:
    if precision == "bf16":
        return RuntimeMissing(f"nothing is installed that computes in bf16: {openvino.INSTALL}")
    return auto.missing() or RuntimeMissing("the installed onnxruntime has no provider that is known here")


def check_name(backend: str) -> None:
    """Raises BackendError for an unknown backend."""
    if backend not in names():
        raise BackendError(f"unknown backend {backend!r}; there are: {', '.join(names())}")


def is_device(backend: str) -> bool:
    """Whether it has memory and queues of its own, so that each stream is one session; `auto` is taken for a CPU."""
    row = PROVIDERS.get(backend)
    return row is not None and not row.is_cpu


def callers(backend: str, gpu: GpuOptions) -> int:
    """How many batches at a time one of its sessions has a use for: the next is copied while one is computed."""
    row = PROVIDERS.get(backend)
    return gpu.in_flight if row is not None and row.memory != "host" else 1


def default_threads(backend: str, available: int) -> int:
    """How many threads the host's pool has where nobody says: of `available` ones."""
    row = PROVIDERS.get(backend)
    return 1 if row is not None and row.threads == "one" else available


def chosen(backend: str) -> str:
    """The row that runs a graph without a model's card where `backend` is asked for: `auto` is the CPU's.

    Raises BackendError for an unknown one, and for one that only embeds: what compiles for itself was told the shapes
    of a model's images, and OpenVINO is no provider of ONNX Runtime.
    """
    check_name(backend)
    if backend not in ("auto", *_GENERAL):
        raise BackendError(f"backend {backend!r} embeds only; keypoints are matched on {' or '.join(_GENERAL)}")
    return "cpu" if backend == "auto" else backend


def open_session(
    model: Path, backend: str, *, threads: int, spinning: bool = True, options: Mapping[str, str] | None = None
) -> Any:
    """An ONNX Runtime session of a graph that is no embedding model, by the same rules: it runs on `backend` or raises.

    `options` are its provider's, instead of those that embedding takes. Raises BackendError, RuntimeMissing,
    ModelError.
    """
    # its inputs lie anywhere, and a recorded graph reads the addresses that it was recorded with
    load_options = LoadOptions(threads=threads, spinning=spinning, gpu=GpuOptions(cuda_graphs=False))
    return ort.open_session(model, PROVIDERS[chosen(backend)], load_options, provider_options=options)


def failures() -> tuple[type[Exception], ...]:
    """What a session of `open_session` raises where it cannot run."""
    return ort.failures()
