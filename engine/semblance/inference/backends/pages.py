"""Host memory that a GPU copies from by itself, at the full speed of its bus: pages that the system never moves.

In: a shape. Out: a numpy array on pages of its own. From any other memory the driver first copies into a small buffer
of such pages, piece by piece. ONNX Runtime's Python API has none to give, so CUDA's runtime is asked.
"""

from __future__ import annotations

import ctypes
import mmap
import weakref

import numpy as np
from numpy.typing import NDArray

from semblance.inference.backends import libraries

_PORTABLE = 1  # cudaHostRegisterPortable in driver_types.h: locked for every GPU, not for the current one only


def host_array(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Zeros [...] uint8 on whole pages that hold nothing else, since pages can be locked once only."""
    pages = mmap.mmap(-1, max(1, int(np.prod(shape))))
    return np.frombuffer(pages, np.uint8, int(np.prod(shape))).reshape(shape)


def lock(array: NDArray[np.uint8], device: int) -> bool:
    """Lock the pages of a `host_array` for as long as it lives; whether that is so.

    The system may refuse: the lock's limit (ulimit -l) is reached, or there is no CUDA. Copies then take longer.
    """
    runtime = libraries.cuda_runtime()
    if runtime is None:
        return False
    address = ctypes.c_void_p(array.ctypes.data)
    # the thread's current device: without it CUDA would set up GPU 0, whichever is used
    if runtime.cudaSetDevice(device) or runtime.cudaHostRegister(address, ctypes.c_size_t(array.nbytes), _PORTABLE):
        return False
    weakref.finalize(array, runtime.cudaHostUnregister, address).atexit = False
    return True
