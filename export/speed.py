"""How much faster one thing is than another on a machine whose speed changes by the minute.

In: two functions of a batch. Out: one ratio. They take turns, so that whatever slows the machine slows both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Run = Callable[[NDArray[np.uint8]], object]

_LEAST_SECONDS = 1.0  # of each
_MOST_ROUNDS = 50


def relative_speed(run: Run, baseline: Run, batch: NDArray[np.uint8]) -> float:
    """How many times faster `run` is than `baseline` on `batch`: the ratio of their median times, taken in turns."""
    times: list[float] = []
    baseline_times: list[float] = []
    _seconds(run, batch), _seconds(baseline, batch)  # the first run of a batch size plans its memory
    while len(times) < _MOST_ROUNDS and (len(times) < 3 or sum(times) < _LEAST_SECONDS):
        times.append(_seconds(run, batch))
        baseline_times.append(_seconds(baseline, batch))
    return statistics.median(baseline_times) / statistics.median(times)


def _seconds(run: Run, batch: NDArray[np.uint8]) -> float:
    start = time.perf_counter()
    run(batch)
    return time.perf_counter() - start
