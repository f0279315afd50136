"""The server's memory second by second, and what it says of itself every few seconds, while others load it.

In: a server, which may be killed and started again meanwhile. Out: samples and `Figures`, by lives.
"""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np

from bench.service.figures import Figures
from bench.service.serving import Serving

_EVERY_S = 1.0
_FIGURES_EVERY = 3  # samples


@dataclass(slots=True)
class Watched:
    """One life of a server, from ready to its end."""

    since: float
    until: float | None = None
    times: list[float] = field(default_factory=list)
    rss_bytes: list[int] = field(default_factory=list)
    figures: list[Figures] = field(default_factory=list)


class Watch:
    """A thread that looks once a second: a server that is slow to tell of itself keeps nobody else waiting."""

    def __init__(self, serving: Serving) -> None:
        """The first life has begun."""
        self._serving = serving
        self._stop = threading.Event()
        self._is_there = True
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.lives = [Watched(time.monotonic())]

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def read_figures(self) -> Figures | None:
        """What it says now; None where it says nothing."""
        life, before = self.lives[-1], time.monotonic()
        try:
            status, text = self._serving.get("/metrics")
        except (OSError, http.client.HTTPException):
            return None
        if status != 200:
            return None
        figures = Figures.read(text.decode(), before, time.monotonic())
        life.figures.append(figures)
        return figures

    def ended(self) -> None:
        """The server is about to go."""
        self._is_there = False
        self.lives[-1].until = time.monotonic()

    def began(self) -> None:
        """It is there again."""
        self.lives.append(Watched(time.monotonic()))
        self._is_there = True

    def _run(self) -> None:
        count = 0
        while not self._stop.wait(_EVERY_S):
            if not self._is_there:
                continue
            life, rss = self.lives[-1], self._serving.rss_bytes()
            if self._is_there:  # still: else a part of it was gone
                life.times.append(time.monotonic())
                life.rss_bytes.append(rss)
            if count % _FIGURES_EVERY == 0:
                self.read_figures()
            count += 1


def growth(life: Watched, settled_s: float) -> dict[str, Any]:
    """How memory went after the first `settled_s` of a life: the most as times what it was then, and its slope."""
    times, rss = np.array(life.times) - life.since, np.array(life.rss_bytes, np.float64)
    is_after = times >= settled_s
    if is_after.sum() < 2 or not rss[is_after].all():
        return {"seconds": float(times[-1]) if len(times) else 0.0, "settled_bytes": None, "most_over_settled": None}
    later, when = rss[is_after], times[is_after]
    settled = float(np.median(later[: max(1, min(10, len(later) // 2))]))
    slope = float(np.polyfit(when, later, 1)[0])
    return {
        "seconds": float(times[-1]),
        "settled_bytes": settled,
        "most_bytes": float(later.max()),
        "end_bytes": float(np.median(later[-5:])),
        "most_over_settled": float(later.max() / settled),
        "end_over_settled": float(np.median(later[-5:]) / settled),
        "slope_bytes_per_min": 60 * slope,
    }
