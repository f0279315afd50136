"""How fast one setting is: windows of calls, until three in a row agree or there were ten.

In: what runs a batch. Out: images per second and the latency of one batch. The rule is perf_analyzer's of Triton: a
figure counts once the last three windows agree within 10 % in throughput and in latency. Pixels are random: what a
network computes takes the same time for any picture (denormal floats aside, which pixels of 0 to 255 do not make).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

NUM_AGREEING, MOST_WINDOWS, MOST_APART = 3, 10, 1.1

Images = NDArray[np.uint8]
Run = Callable[[Images], object]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Window:
    """Calls that were made one after the other, in each of some streams at the same time."""

    images_per_sec: float
    latencies_ms: tuple[float, ...]  # of each call, at least one

    @property
    def p50_ms(self) -> float:
        """Median latency of one batch."""
        return float(np.median(self.latencies_ms))


@dataclass(frozen=True, slots=True)
class Speed:
    """What the last windows say."""

    images_per_sec: float
    p50_ms: float  # of one batch
    tail_ms: float  # by `tail_name`
    tail_name: str  # p99; p95 of fewer than 100 calls; the slowest, "max", of fewer than 20
    num_calls: int  # in the windows that count
    is_stable: bool


def is_stable(windows: Sequence[Window]) -> bool:
    """Whether the last three agree in throughput and in latency: the largest is at most 1.1 times the least."""
    last = windows[-NUM_AGREEING:]
    return len(last) == NUM_AGREEING and all(
        max(figures) <= MOST_APART * min(figures)
        for figures in ([window.images_per_sec for window in last], [window.p50_ms for window in last])
    )


def is_done(windows: Sequence[Window]) -> bool:
    """Whether no further window is needed, or allowed."""
    return is_stable(windows) or len(windows) >= MOST_WINDOWS


def speed_of(windows: Sequence[Window]) -> Speed:
    """Mean throughput and pooled latencies of the last three windows, of which there must be one at least."""
    last = windows[-NUM_AGREEING:]
    latencies = np.concatenate([window.latencies_ms for window in last])
    tail_ms, tail_name = tail(latencies)
    rate = float(np.mean([window.images_per_sec for window in last]))
    return Speed(rate, float(np.median(latencies)), tail_ms, tail_name, len(latencies), is_stable(windows))


def tail(latencies_ms: NDArray[np.float64]) -> tuple[float, str]:
    """The latency that all but a few calls keep to, and its name: as far out as so many calls can tell."""
    if len(latencies_ms) < 20:
        return float(latencies_ms.max()), "max"
    percent = 95 if len(latencies_ms) < 100 else 99
    return float(np.percentile(latencies_ms, percent, method="higher")), f"p{percent}"


def warm(run: Run, batches: Sequence[Images]) -> None:
    """Two calls in every stream: the first plans memory and picks kernels, the second may still record a graph."""
    for _ in range(2):
        _in_streams(lambda images: run(images), batches)


def measure_window(run: Run, batches: Sequence[Images], seconds: float) -> Window:
    """`run` on each of `batches` in a thread of its own, again and again for `seconds`; at least once."""
    streams = _in_streams(lambda images: _calls(run, images, seconds), batches)
    # a stream ends with its own last call, so each has its own clock: a common one would count the wait for the slowest
    rate = sum(len(calls) * len(images) / sum(calls) for calls, images in zip(streams, batches, strict=True))
    return Window(rate, tuple(1e3 * seconds for calls in streams for seconds in calls))


def random_batches(num: int, shape: tuple[int, int, int, int]) -> list[Images]:
    """`num` different batches [N, H, W, C] uint8."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(num)]


# ------------------------------------------------------------------------------------------------------------------


def _calls(run: Run, images: Images, seconds: float) -> list[float]:
    """Seconds that each call took."""
    took: list[float] = []
    start = now = time.perf_counter()
    while not took or now - start < seconds:
        run(images)
        now, before = time.perf_counter(), now
        took.append(now - before)
    return took


def _in_streams(work: Callable[[Images], _T], batches: Sequence[Images]) -> list[_T]:
    if len(batches) == 1:
        return [work(batches[0])]
    with ThreadPoolExecutor(len(batches)) as pool:
        return list(pool.map(work, batches))
