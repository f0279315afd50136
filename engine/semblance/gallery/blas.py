"""How many threads NumPy's matrix products take, while something better is done with the cores.

A product that shares its work among OpenBLAS's threads leaves them spinning for tens of milliseconds, on the cores
that the caller's next step needs; and where threads of our own have a product each, the cores are taken already. The
limit belongs to the whole process (with OpenMP, to each thread), so that only one caller at a time is inside.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

# Of two that overlap, the second would restore what the first had set.
_inside = threading.Lock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, matrix products stay on the thread that asks for them; others wait to get in."""
    with _inside, _blas().limit(limits=1):
        yield


@contextmanager
def keeping_to_one_blas_thread() -> Iterator[None]:
    """The same for one of several threads whose caller is inside `one_blas_thread`: with OpenMP each has a limit."""
    if not _is_limited_by_thread():
        yield  # the caller's limit holds for this thread too, and taking it back is the caller's
        return
    with _blas().limit(limits=1):
        yield


def blas_threads() -> int:
    """How many threads a matrix product takes outside of `one_blas_thread`, 1 where that cannot be known."""
    with _inside:
        return max((int(library["num_threads"]) for library in _blas().info()), default=1)


@functools.cache
def _is_limited_by_thread() -> bool:
    return any(library.get("threading_layer") == "openmp" for library in _blas().info())


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")  # of the libraries that are loaded by now: NumPy's is
