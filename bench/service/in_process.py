"""The engine without HTTP, in a process of its own: what the service is set against.

In: a task for `Helper(InProcess work)`. Out: seconds of each call one after another, or how many images were embedded
with so many outstanding. The encoder is loaded as the service loads it, and its batcher has the service's own options.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.service.load import BEGIN
from semblance.inference.batcher import Batcher
from semblance.inference.encoder import Encoder

_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Begin: the model, and the pictures of all later tasks."""

    model: Path
    backend: str
    threads: int
    pictures: list[bytes]


@dataclass(frozen=True, slots=True)
class OneByOne:
    """`calls` of one picture each, by `await batcher.embed` or by `encoder.embed`."""

    calls: int
    by: str  # batcher or encoder
    first: int = 0  # place of the first picture


@dataclass(frozen=True, slots=True)
class Outstanding:
    """For some seconds `groups` groups of `images` pictures each are always in the batcher."""

    groups: int
    images: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Embedded:
    """What came of `Outstanding`."""

    images_per_s: float
    cpu_s: float  # of this process meanwhile
    mean_batch: float


class _Engine:
    def __init__(self, task: Load) -> None:
        self.pictures = task.pictures
        # as the service does it
        self.encoder = Encoder.load(
            task.model, backend=task.backend, threads=task.threads, max_batch=32, spinning=False
        )
        self.batcher = Batcher(self.encoder, max_batch=32, max_pending_images=4096).start()
        self.loop = asyncio.new_event_loop()

    def one_by_one(self, task: OneByOne) -> list[float]:
        pictures = [self.pictures[(task.first + number) % len(self.pictures)] for number in range(task.calls)]
        if task.by == "batcher":
            return self.loop.run_until_complete(self._awaited(pictures))
        seconds = []
        for each in pictures:
            start = time.perf_counter()
            self.encoder.embed([each])
            seconds.append(time.perf_counter() - start)
        return seconds

    async def _awaited(self, pictures: list[bytes]) -> list[float]:
        seconds = []
        for each in pictures:
            start = time.perf_counter()
            await self.batcher.embed(each)
            seconds.append(time.perf_counter() - start)
        return seconds

    def outstanding(self, task: Outstanding) -> Embedded:
        before, cpu = self.batcher.statistics(), time.process_time()
        groups = [_Group(self, task.images, number) for number in range(task.groups)]
        for each in groups:
            each.submit()
        time.sleep(BEGIN * task.seconds)  # as the client over HTTP counts
        start, num_before = time.monotonic(), sum(each.num_done for each in groups)
        time.sleep((1 - BEGIN) * task.seconds)
        seconds = time.monotonic() - start
        num_images = sum(each.num_done for each in groups) - num_before
        for each in groups:
            each.is_over = True
        for each in groups:
            if not each.ended.wait(_PATIENCE_S):
                raise TimeoutError("a group of images never came back from the batcher")
        after = self.batcher.statistics()
        num_batches = sum(after.batch_sizes.values()) - sum(before.batch_sizes.values())
        num_all = after.outcomes.get("embedded", 0) - before.outcomes.get("embedded", 0)
        return Embedded(num_images / seconds, time.process_time() - cpu, num_all / max(1, num_batches))


class _Group:
    """Pictures that are submitted together, and again when all of them are back."""

    def __init__(self, engine: _Engine, size: int, number: int) -> None:
        self._engine, self._size, self._next = engine, size, number * size
        self._left = 0
        self._lock = threading.Lock()
        self.num_done = 0
        self.is_over = False
        self.ended = threading.Event()

    def submit(self) -> None:
        pictures = self._engine.pictures
        chosen = [pictures[(self._next + place) % len(pictures)] for place in range(self._size)]
        self._next += self._size
        self._left = self._size
        for each in self._engine.batcher.submit_many(chosen):
            each.add_done_callback(self._done)

    def _done(self, future: Future[Any]) -> None:
        future.result()  # a failure is to be seen
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self.num_done += self._size
        if self.is_over:
            self.ended.set()
        else:
            self.submit()


_engine: _Engine | None = None  # of the process that this module works in


def work(task: Load | OneByOne | Outstanding) -> Any:
    """Do a task; the first is Load."""
    global _engine
    if isinstance(task, Load):
        _engine = _Engine(task)
        return _engine.encoder.description
    assert _engine is not None, "the first task is Load"
    if isinstance(task, OneByOne):
        return _engine.one_by_one(task)
    return _engine.outstanding(task)
