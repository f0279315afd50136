"""Whether ONNX Runtime can use the GPU that is here, and which libraries it does it with.

In: a `Gpu`. Out: nothing, or a BackendError with cause and remedy; and the versions, for the result. What is tried is a
model with convolutions, since without cuDNN sessions open and everything but a convolution runs.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
from typing import Any

import numpy as np

from bench.gpu_check.device import Gpu
from semblance.errors import BackendError, RuntimeMissing, SemblanceError
from semblance.inference.backends.wheels import onnxruntime, version_of
from semblance.inference.models import find_model
from semblance.inference.session import Session

_CONVOLUTIONS = "siamese"  # shipped
# The engine's own errors say theirs
_REMEDY = (
    "In an environment without any other onnxruntime: pip install 'semblance[gpu]', which brings CUDA and cuDNN; if "
    "the driver's CUDA is older than the one it is built for, a newer driver"
)
_PACKAGES = (
    "semblance", "onnxruntime", "onnxruntime-gpu", "onnx", "numpy", "torch", "torchvision", "triton", "keras", "jax",
    "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin",
)  # fmt: skip


def require_usable(gpu: Gpu, backend: str = "cuda") -> None:
    """Embed one image on `backend`. Raises BackendError, RuntimeMissing with cause and remedy."""
    try:
        session = Session(find_model(_CONVOLUTIONS), backend=backend, max_batch=1)
        shape = (1, session.card.height, session.card.width, session.card.channels)
        session.run(np.zeros(shape, np.uint8))
    except RuntimeMissing:
        raise  # says its own remedy
    except Exception as error:  # of the engine, or of a library that failed to load
        said = " ".join((f"{gpu.trouble}; {error}" if gpu.trouble else str(error)).split())
        remedy = "" if isinstance(error, SemblanceError) else f". {_REMEDY}"
        raise BackendError(
            f"{gpu.name} is here (driver {gpu.driver or 'unknown'}, which runs CUDA up to "
            f"{gpu.driver_cuda or 'unknown'}) and cannot be used: {said}{remedy}"
        ) from error


def versions() -> dict[str, str | None]:
    """Of every package that takes part, None where it is not installed; and of the CUDA libraries in use."""
    nvidia = {
        name: each.version
        for each in importlib.metadata.distributions()
        if (name := each.metadata["Name"] or "").startswith("nvidia-")
    }
    return {
        **{name: version_of(name) for name in _PACKAGES},
        **dict(sorted(nvidia.items())),
        "onnxruntime built for CUDA": str(getattr(onnxruntime(), "cuda_version", "") or "") or None,
        "cudnn in use": cudnn_version(),
    }


def cudnn_version(load: Any = ctypes.CDLL) -> str | None:
    """Of the cuDNN 9 that this process has loaded, or would; None where there is none."""
    try:
        number = ctypes.c_size_t(load("libcudnn.so.9").cudnnGetVersion()).value
    except (OSError, AttributeError):
        return None
    return f"{number // 10000}.{number % 10000 // 100}.{number % 100}"
