"""Memory that a finished stage has freed, given back to the system before the next one needs its own.

Allocators keep what was freed, in case the same is asked for again. A build's stages ask for different sizes: without
this their leftovers add up, and the peak is their sum.
"""

from __future__ import annotations

import ctypes
import sys

import pyarrow as pa


def release_memory() -> None:
    """Have Arrow's pool and the C library's heap give back what is free; nothing where there is no way to ask."""
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):  # glibc, not musl
        library.malloc_trim(0)
