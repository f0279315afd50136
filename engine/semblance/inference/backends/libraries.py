"""The CUDA libraries that a GPU provider needs: found where pip puts them, loaded, or named where they are missing.

In: the name of a provider's row. Out: what cannot be loaded. ONNX Runtime itself logs a missing library and goes on
without the provider, so it is looked for before ONNX Runtime is asked.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import io
import os
from pathlib import Path

from semblance.inference.backends.wheels import onnxruntime

INSTALL_CUDA = "pip install 'semblance[gpu]'"
# version 10 is the last whose library has the name that onnxruntime-gpu looks for
INSTALL_TENSORRT = "pip install 'tensorrt-cu13-libs>=10,<11'"

# What `readelf -d` says of libonnxruntime_providers_cuda.so and _tensorrt.so in onnxruntime-gpu 1.31.1. {cuda} is the
# major version of CUDA for which the wheel was built. cuDNN is loaded late, by the first convolution
_CUDA = (("libcublasLt.so.{cuda}", "cublasLt64_{cuda}.dll"), ("libcublas.so.{cuda}", "cublas64_{cuda}.dll"),
         ("libcurand.so.10", "curand64_10.dll"), ("libcudart.so.{cuda}", "cudart64_{cuda}.dll"),
         ("libcudnn.so.9", "cudnn64_9.dll"))  # fmt: skip
_TENSORRT = (("libnvinfer.so.10", "nvinfer_10.dll"), ("libnvonnxparser.so.10", "nvonnxparser_10.dll"))
_NEEDED = {"cuda": _CUDA, "tensorrt": (*_CUDA, *_TENSORRT)}


def cuda_version() -> tuple[int, int] | None:
    """The version of CUDA for which the installed onnxruntime was built; None for a build without CUDA."""
    built_for: str = onnxruntime().cuda_version or ""
    major, _, minor = built_for.partition(".")
    return (int(major), int(minor.partition(".")[0] or 0)) if major.isdigit() else None


def load(name: str) -> str | None:
    """Load what the row of that name needs, and give the name of the first library that cannot be; None: all are there.

    A library that is loaded is found by its name wherever it lies, also by those that need it.
    """
    cuda = cuda_version()
    if cuda is None:
        return None
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its own advice for each library
        onnxruntime().preload_dlls()
    if name == "tensorrt":
        _load_tensorrt()
    for linux, windows in _NEEDED.get(name, ()):
        library = (windows if os.name == "nt" else linux).format(cuda=cuda[0])
        try:
            ctypes.CDLL(library)
        except OSError:
            return library
    return None


def cuda_runtime() -> ctypes.CDLL | None:
    """CUDA's runtime, the very library that ONNX Runtime uses; None for a build without CUDA, or without it."""
    cuda = cuda_version()
    if cuda is None:
        return None
    try:
        return ctypes.CDLL(f"cudart64_{cuda[0]}.dll" if os.name == "nt" else f"libcudart.so.{cuda[0]}")
    except OSError:
        return None


def tensorrt_version() -> str:
    """Of the TensorRT that ONNX Runtime would use, as "10.16.1"; "" where there is none."""
    load("tensorrt")
    library = _TENSORRT[0][os.name == "nt"]
    try:
        number = int(ctypes.CDLL(library).getInferLibVersion())
    except (OSError, AttributeError):
        return ""
    # NvInferVersion.h: major * 10000 + minor * 100 + patch since version 10
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _load_tensorrt() -> None:
    """From the folder of the wheel tensorrt-cu13-libs, which no search path has. Others are found by the system."""
    found = importlib.util.find_spec("tensorrt_libs")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for library in _TENSORRT:
            path = Path(folder) / library[os.name == "nt"]
            if path.is_file():
                with contextlib.suppress(OSError):  # `load` names it
                    ctypes.CDLL(str(path))
