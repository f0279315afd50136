"""The first pass: everything that runs here once, for one short window.

In: the files that take part. Out: a row for each candidate that was run or cannot be, and what was not tried, and why.
A model that eats a hundred images a second would take hours over all that could be varied, so threads and streams are
varied only where a backend is not hopeless, and batches go up only as far as the time for that backend allows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from semblance.container import available_threads
from semblance.errors import SemblanceError
from semblance.inference import backends
from semblance.inference.session import default_max_batch
from semblance.tune.candidates import (
    Setting,
    Variant,
    batches_beside,
    coarse_batches,
    stream_counts,
    thread_counts,
)
from semblance.tune.choice import Row
from semblance.tune.measuring import Speed, speed_of
from semblance.tune.options import SweepOptions
from semblance.tune.trial import Trial

_CALLS_TO_MEASURE = 3  # two that warm up, and one
_HOPELESS = 2  # times slower than the best backend of its file
_ON_DEVICE = 4  # times the default batch: a device has more arithmetic to fill

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Task:
    """Batches, ascending, of one session."""

    variant: Variant
    backend: str
    threads: int
    streams: int
    batches: list[int]

    @property
    def told(self) -> str:
        return f"{self.variant.name} on {Setting(self.backend, self.threads, self.streams, self.batches[0]).told}"


class CoarsePass:
    """`rows` and `pruned` grow while it runs."""

    def __init__(self, options: SweepOptions, deadline: float, say: Say) -> None:
        """`deadline` is one of `time.perf_counter`."""
        self.rows: list[Row] = []
        self.pruned: list[str] = []
        self._options, self._deadline, self._say = options, deadline, say
        self._window_s = min(options.window_s, options.budget_s / 200)
        self._available = available_threads()

    def run(self, variants: Sequence[Variant]) -> None:
        """Every file on every backend, then threads and streams where that backend is not hopeless for the file."""
        # TensorRT last: it builds engines for minutes, and what is asked of a runtime cannot be stopped
        named = sorted(self._options.backends or backends.names()[1:], key=lambda name: name == "tensorrt")
        first = [self._first(variant, backend) for backend in named for variant in variants]
        for number, task in enumerate(first):
            self._try(task, until=self._share(1 + len(first) - number))  # one share is kept for what comes after
            self._tell(task)
        # one of each in turn, so that what the time is too short for is not all of the last file's
        turns = zip_longest(*self._further(variants))
        further = [task for turn in turns for task in turn if task is not None]
        for number, task in enumerate(further):
            self._try(task, until=self._share(len(further) - number))

    def _share(self, num: int) -> float:
        """When one of `num` equal parts of the time left is over: what one leaves goes to those after it."""
        now = time.perf_counter()
        return now + (self._deadline - now) / num

    def _first(self, variant: Variant, backend: str) -> _Task:
        threads = backends.default_threads(backend, self._available)
        return _Task(variant, backend, threads, 1, coarse_batches(self._largest(variant, backend)))

    def _further(self, variants: Sequence[Variant]) -> Iterator[list[_Task]]:
        """For each file on each backend that is not hopeless for it."""
        for variant in variants:
            best = self._best_of_each_backend(variant)
            most = max((row.measured[1].images_per_sec for row in best.values()), default=0.0)
            for backend, row in best.items():
                setting, speed = row.measured
                if speed.images_per_sec * _HOPELESS < most:
                    self.pruned.append(
                        f"{variant.name} on {backend} is less than half as fast as the best for this file: no other "
                        "threads and streams were tried"
                    )
                else:
                    yield list(self._around(variant, setting))

    def _around(self, variant: Variant, setting: Setting) -> Iterator[_Task]:
        """Other threads, streams and batches than those tried already, near what was best."""
        backend, largest = setting.backend, self._largest(variant, setting.backend)
        tried = coarse_batches(largest)
        if beside := [batch for batch in batches_beside(setting.batch, largest) if batch not in tried]:
            yield _Task(variant, backend, setting.threads, 1, beside)
        if backends.is_device(backend):
            yield _Task(variant, backend, setting.threads, 2, [setting.batch])
            return
        for threads in thread_counts(self._available):
            for streams in stream_counts(threads):
                if (threads, streams) != (setting.threads, 1):
                    yield _Task(variant, backend, threads, streams, [setting.batch])

    def _try(self, task: _Task, *, until: float) -> None:
        """A row for each batch, as far as the time allows; or one with the cause."""
        variant, backend = task.variant, task.backend
        if time.perf_counter() >= self._deadline:
            self.pruned.append(f"{task.told}: the budget was spent")
            if not any(row.variant is variant and row.backend == backend for row in self.rows):
                self.rows.append(Row(variant=variant, backend=backend, note="not tried: the budget was spent"))
            return
        setting: Setting | None = None
        try:
            trial = Trial(variant, backend, task.threads, task.streams, task.batches[-1])
            speed: Speed | None = None
            for batch in task.batches:
                if speed and setting and self._is_late(1e-3 * speed.p50_ms * batch / setting.batch, until):
                    self.pruned.append(f"{task.told}: batches from {batch} on take too long for the budget")
                    return
                setting = Setting(backend, task.threads, task.streams, batch)
                trial.warm(batch)
                speed = speed_of([trial.window(batch, self._window_s)])
                self.rows.append(Row(variant=variant, backend=backend, setting=setting, speed=speed, note=variant.note))
        except SemblanceError as error:
            self.rows.append(Row(variant=variant, backend=backend, setting=setting, note=str(error)))

    def _is_late(self, call_s: float, until: float) -> bool:
        return time.perf_counter() + max(self._window_s, _CALLS_TO_MEASURE * call_s) > until

    def _tell(self, task: _Task) -> None:
        row = self._best_of_each_backend(task.variant).get(task.backend)
        if row is not None:
            setting, speed = row.measured
            self._say(f"{task.told}: {speed.images_per_sec:,.0f} images/s in batches of {setting.batch}")

    def _best_of_each_backend(self, variant: Variant) -> dict[str, Row]:
        ran = [row for row in self.rows if row.variant is variant and row.speed]
        ran.sort(key=lambda row: row.measured[1].images_per_sec)
        return {row.backend: row for row in ran}

    def _largest(self, variant: Variant, backend: str) -> int:
        assert variant.card is not None
        default = default_max_batch(variant.card) * (_ON_DEVICE if backends.is_device(backend) else 1)
        return self._options.max_batch or default
