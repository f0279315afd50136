"""How fast a model embeds, by setting and batch size, with the copies between host and device and without.

In: a model, a time budget. Out: rows for the result. What is compared with each other runs in turns, so that a change
of clock or a neighbour meets all of it; a row says which race it was in. What fails, as memory may at large batches, is
a row too, with its reason.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.gpu_check.running import THREADS, Prepared, open_session, prepare
from bench.gpu_check.setting import FACTORS, Precision, Setting, alternatives, everywhere, pivot
from bench.gpu_check.subjects import Subject, noise
from semblance.inference.backends.wheels import onnxruntime

QUANTILES = (0, 5, 25, 50, 75, 95, 99, 100)

_TURN_S = 0.05
_LEAST_ROUNDS = 5


@dataclass(slots=True)
class Budget:
    """Seconds to be shared out among what is left to do."""

    seconds: float
    began: float = 0.0

    def __post_init__(self) -> None:
        self.began = time.monotonic()

    @property
    def left_s(self) -> float:
        """Never negative."""
        return max(0.0, self.seconds - (time.monotonic() - self.began))

    def share_s(self, num_left: int) -> float:
        """Of each of `num_left` parts."""
        return self.left_s / max(1, num_left)


def in_turns(calls: Mapping[str, Callable[[], Any]], *, seconds: float) -> dict[str, list[float]]:
    """Seconds of each call, by name: turns of a twentieth of a second, five rounds at least, each begun by another."""
    sizes = {}
    for name, call in calls.items():
        call()
        sizes[name] = max(1, round(_TURN_S / max(1e-7, _timed(call))))
    order, times, end = list(calls), {name: list[float]() for name in calls}, time.perf_counter() + seconds
    number = 0
    while number < _LEAST_ROUNDS or time.perf_counter() < end:
        first = number % len(order)
        for name in order[first:] + order[:first]:
            times[name] += [_timed(calls[name]) for _ in range(sizes[name])]
        number += 1
    return times


def figures_of(seconds: Sequence[float], batch: int) -> dict[str, Any]:
    """What is kept of the times of calls with `batch` images each."""
    milliseconds = np.percentile(np.asarray(seconds) * 1e3, QUANTILES)
    quantiles = dict(zip(QUANTILES, milliseconds.round(5).tolist(), strict=True))
    return {
        "p50_ms": quantiles[50],
        "p99_ms": quantiles[99],
        "images_per_sec": batch / float(np.median(seconds)),
        "num_calls": len(seconds),
        "quantiles_ms": {f"p{name}": value for name, value in quantiles.items()},
    }


class Sweep:
    """All measurements of one model; `best` fills as they go on."""

    def __init__(self, subject: Subject, backend: str, batches: Sequence[int]) -> None:
        self._subject, self._backend, self._batches = subject, backend, sorted(batches)
        self._images = noise(subject.card, max(batches))
        self.best: dict[Precision, Setting] = {}
        self.rows: list[dict[str, Any]] = []
        self.not_measured: list[str] = []

    @property
    def precisions(self) -> list[Precision]:
        """Those that there is a file for, or an option."""
        tf32: list[Precision] = ["tf32"] if self._backend == "cuda" else []
        return ["fp32", *tf32, *(["fp16"] if self._subject.half is not None else [])]  # type: ignore[list-item]

    def run(self, seconds: float) -> None:
        """Measure for about that long."""
        budget = Budget(seconds)
        left = len(self.precisions) * (len(FACTORS) + len(self._batches))
        for precision in self.precisions:
            best = Setting(precision=precision)
            at = pivot(self._batches, is_small=self._subject.is_small)
            for factor in FACTORS:
                best = self._race(f"{precision}: {factor}", alternatives(best, factor), at, budget, left) or best
                left -= 1
            self.best[precision] = best
            for batch in self._batches:
                self._race(f"{precision}: batch {batch}", everywhere(best), batch, budget, left)
                left -= 1

    def _race(self, title: str, settings: list[Setting], batch: int, budget: Budget, left: int) -> Setting | None:
        """Rows of one race, and the setting whose run alone is the fastest; None where none was measured."""
        if budget.left_s <= 0:
            self.not_measured.append(f"{self._subject.name}, {title}: the time was over")
            return None
        prepared = self._prepared(title, settings, batch)
        calls: dict[tuple[Setting, str], Callable[[], Any]] = {}
        for setting, each in prepared.items():
            calls[setting, "inside"] = each.with_copies
            if each.without_copies is not None:
                calls[setting, "outside"] = each.without_copies
        keys = {f"{setting}, {copies}": (setting, copies) for setting, copies in calls}
        if not keys:
            return None
        try:
            times = in_turns({name: calls[key] for name, key in keys.items()}, seconds=budget.share_s(left))
        except Exception as error:  # ONNX Runtime's have no base of their own
            for setting in prepared:
                self._fail(title, setting, batch, error)
            return None
        medians = {keys[name]: float(np.median(each)) for name, each in times.items()}
        for name, (setting, copies) in keys.items():
            self._add(title, setting, batch, {"copies": copies, **figures_of(times[name], batch)})
        del prepared, calls
        gc.collect()
        alone = {setting: median for (setting, copies), median in medians.items() if copies == "outside"}
        return min(alone, key=alone.__getitem__) if alone else None

    def _prepared(self, title: str, settings: list[Setting], batch: int) -> dict[Setting, Prepared]:
        sessions: dict[Any, Any] = {}
        found = {}
        for setting in settings:
            try:
                if setting.session_key not in sessions:
                    sessions[setting.session_key] = open_session(self._file(setting), setting, self._backend)
                session = sessions[setting.session_key]
                found[setting] = prepare(session, setting, self._images[:batch], self._backend)
            except Exception as error:  # ONNX Runtime's have no base of their own
                self._fail(title, setting, batch, error)
        return found

    def _file(self, setting: Setting) -> Path:
        if setting.precision == "fp16":
            assert self._subject.half is not None  # else it is none of `precisions`
            return self._subject.half
        return self._subject.path

    def _fail(self, race: str, setting: Setting, batch: int, error: Exception) -> None:
        self._add(race, setting, batch, {"copies": "inside", "failed": " ".join(str(error).split())[:300]})

    def _add(self, race: str, setting: Setting, batch: int, figures: dict[str, Any]) -> None:
        self.rows.append(
            {
                "model": self._subject.name,
                "race": race,
                "batch": batch,
                **setting.as_json(),
                "threads": THREADS,
                "runtime": f"onnxruntime {onnxruntime().__version__}",
                **figures,
            }
        )


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
