"""ONNX Runtime: each of its execution providers is one row of a table.

In: an ONNX file and a row. Out: a runner whose nodes all lie on that row's provider. ONNX Runtime itself would warn and
put a GPU session on the CPU, so every row but the CPU's forbids that with `session.disable_cpu_ep_fallback`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from semblance.errors import BackendError, ModelError, RuntimeMissing


@dataclass(frozen=True, slots=True)
class Provider:
    """One execution provider, as users name it and as ONNX Runtime does."""

    name: str
    provider: str
    install: str  # the command that brings it
    options: Mapping[str, str] = field(default_factory=dict)


PROVIDERS: dict[str, Provider] = {
    row.name: row
    for row in (
        Provider("cpu", "CPUExecutionProvider", "pip install 'semblance[cpu]'"),
        # TF32 rounds the operands of a float32 product to 10 bits: off, so that fp32 means fp32
        Provider("cuda", "CUDAExecutionProvider", "pip install 'semblance[gpu]'", {"use_tf32": "0"}),
    )
}

_WHEELS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-qnn")  # all install `onnxruntime`


class OrtRunner:
    """One ONNX Runtime session on one provider."""

    def __init__(self, model: Path, row: Provider, *, threads: int) -> None:
        """Load `model`; `threads` is the size of the intra-op pool. Raises BackendError, RuntimeMissing, ModelError."""
        ort = onnxruntime()
        if row.provider not in ort.get_available_providers():
            raise BackendError(
                f"backend {row.name!r} needs {row.provider}, which this onnxruntime {ort.__version__} does not have "
                f"(it has {', '.join(ort.get_available_providers())}); "
                f"uninstall {' and '.join(installed_wheels())}, then: {row.install}"
            )
        if row.name == "cuda":
            ort.preload_dlls()  # finds the CUDA and cuDNN libraries that pip installed
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # its warnings speak to developers of runtimes, not to our users
        if row.name != "cpu":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            self._session = ort.InferenceSession(model, options, providers=[(row.provider, dict(row.options))])
        except Exception as error:  # ONNX Runtime raises classes of its own, by failure, without a common base
            raise _load_error(model, row, error) from error
        if row.provider not in self._session.get_providers():
            raise BackendError(f"backend {row.name!r} was asked for, and ONNX Runtime loaded {model} without it")
        self._input = self._session.get_inputs()[0].name
        self.description = f"onnxruntime {ort.__version__}, {row.provider}, {threads} threads"

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, H, W, C] uint8 -> [N, D] float32."""
        embedding: NDArray[np.float32] = self._session.run(None, {self._input: images})[0]
        return embedding


def onnxruntime() -> ModuleType:
    """The `onnxruntime` module, if exactly one wheel provides it; RuntimeMissing with the pip command otherwise."""
    wheels = installed_wheels()
    if len(wheels) > 1:
        raise RuntimeMissing(
            f"{' and '.join(wheels)} are both installed and overwrite each other's files; "
            f"pip uninstall -y {' '.join(wheels)}, then one of: pip install 'semblance[cpu]' | 'semblance[gpu]'"
        )
    if importlib.util.find_spec("onnxruntime") is None:
        raise RuntimeMissing("no ONNX Runtime is installed: pip install 'semblance[cpu]', or with an NVIDIA GPU "
                             "pip install 'semblance[gpu]'")  # fmt: skip
    return importlib.import_module("onnxruntime")


def installed_wheels() -> list[str]:
    """Those installed of the wheels that all bring a package called `onnxruntime`."""
    found = []
    for name in _WHEELS:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def _load_error(model: Path, row: Provider, error: Exception) -> BackendError | ModelError:
    first_line = str(error).strip().partition("\n")[0]
    if row.name == "cpu":
        return ModelError(f"{model}: ONNX Runtime cannot load it ({first_line}); export the model again")
    return BackendError(f"backend {row.name!r} cannot run {model}: {first_line}")
