"""Who may use a GPU while one thread records a CUDA graph: nobody else in this process.

In: threads. Out: two ways through one gate, with others or alone. ONNX Runtime records in CUDA's global mode, in which
an allocation or a synchronous copy of any thread fails and spoils the recording.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Lets through any number together, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_together = 0
        self._is_taken = False

    @contextmanager
    def together(self) -> Iterator[None]:
        """With others, once nobody is alone or waits to be."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_taken)
            self._num_together += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_together -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Once all others have left; new ones wait from the moment that this is asked for."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_taken)
            self._is_taken = True
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._num_together == 0)
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()
