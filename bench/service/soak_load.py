"""All that is sent to the service in a soak, from one process with one thread.

In: `Soak`, after which `Verify`. Out: what was seen of every request, every client that hung up, every connection that
dripped, and what became of the writes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.service.client import arrivals, at, drawn, run, run_plan
from bench.service.connections import Exchange, Pool
from bench.service.load import RIGHT, UNCHECKED, WRONG, Piece, Plan, Seen
from bench.service.recording import Recorder
from bench.service.rude import Dripped, HungUp, drip, hang_up
from bench.service.wire import RAW, request
from bench.service.writes import Key, Known, Verified, Writes

_MOST_HANG_UP_S = 0.25  # until a client leaves that has sent all
_MOST_HANGING = 64
_DRAIN_S = 70.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """Load of every sort at a time."""

    plan: Plan  # the stream of pictures to embed: good ones and bad ones
    hang_up_share: float  # of that stream
    num_dripping: int
    drip_interval_s: float
    writes_per_s: float
    searches_per_s: float
    known: Sequence[Known]  # pictures to write, which are nowhere else
    searched: Sequence[tuple[bytes, int]]  # pictures of the gallery, with their keys
    nearness: float
    journal: Path


@dataclass(frozen=True, slots=True)
class Verify:
    """Look at all keys that the soak before has written; nothing else goes on."""

    port: int


@dataclass(slots=True)
class Soaked:
    """What was seen."""

    seen: Seen
    hung_up: list[HungUp]
    dripped: list[Dripped]
    verified: list[Verified]
    num_keys: int
    num_acknowledged: int


@dataclass(slots=True)
class _Kept:
    """Of the soak before, for `Verify`."""

    soak: Soak
    keys: dict[int, Key] = field(default_factory=dict)


_kept: _Kept | None = None  # of the process that this module works in


def work(task: Plan | Soak | Verify) -> Seen | Soaked | tuple[Verified, Seen]:
    """Do a task."""
    global _kept
    if isinstance(task, Plan):
        return run_plan(task)
    if isinstance(task, Soak):
        _kept = _Kept(task)
        soaked: Soaked = run(_soak(task, _kept))
        return soaked
    assert _kept is not None, "there was no soak before"
    verified: tuple[Verified, Seen] = run(_verify(task, _kept))
    return verified


async def _soak(task: Soak, kept: _Kept) -> Soaked:
    plan = task.plan
    assert plan.rate_per_s is not None
    pool = Pool(plan.port, max_connections=plan.max_connections, limit_s=plan.limit_s)
    others = Pool(plan.port, max_connections=32, limit_s=plan.limit_s)  # never behind a crowd of the other
    recorder = Recorder(plan.tolerance)
    until = time.monotonic() + plan.seconds
    with task.journal.open("a") as journal:
        writes = Writes(others, recorder, task.known, journal, nearness=task.nearness, seed=plan.seed)
        kept.keys = writes.keys
        rude = _Rude(task, until)
        recorder.begin()
        streams = [
            writes.run(task.writes_per_s, until),
            _search(others, recorder, task, until),
            _embed(pool, recorder, task, rude),
            *(rude.drip(number) for number in range(task.num_dripping)),
        ]
        await asyncio.gather(*streams)
        recorder.end()
        await rude.settled()
        await pool.drained(_DRAIN_S)
        await others.drained(_DRAIN_S)
        pool.close()
        others.close()
    return Soaked(
        recorder.seen(num_retried=pool.num_retried + others.num_retried),
        rude.hung_up,
        rude.dripped,
        writes.verified,
        len(writes.keys),
        writes.num_acknowledged,
    )


async def _embed(pool: Pool, recorder: Recorder, task: Soak, rude: _Rude) -> None:
    plan = task.plan
    assert plan.rate_per_s is not None
    rng = np.random.default_rng(plan.seed)
    pieces = drawn(plan)

    def send(due: float) -> None:
        if rng.random() < task.hang_up_share:
            rude.hang_up()
            return
        piece = next(pieces)
        pool.ask(Exchange(piece.request, due, lambda exchange: _take(recorder, exchange, piece)))

    await at(arrivals(plan.rate_per_s, plan.seconds, rng), send)


def _take(recorder: Recorder, exchange: Exchange, piece: Piece) -> None:
    recorder.take(exchange, piece)


async def _search(pool: Pool, recorder: Recorder, task: Soak, until: float) -> None:
    """Searches with pictures of the gallery, each of which must find itself."""
    if not task.searches_per_s:
        return
    requests = [request("POST", "/v1/search?k=5", each, {"Content-Type": RAW}) for each, _ in task.searched]
    rng = np.random.default_rng(task.plan.seed + 2)
    count = 0

    def send(due: float) -> None:
        nonlocal count
        place, count = count % len(requests), count + 1

        def done(exchange: Exchange) -> None:
            verdict = UNCHECKED
            if exchange.status == 200 and not exchange.failure:
                verdict = _judged(exchange, task.searched[place][1], task.nearness, recorder)
            recorder.add(exchange, "search", 1, verdict)

        pool.ask(Exchange(requests[place], due, done))

    await at(arrivals(task.searches_per_s, max(0.0, until - time.monotonic()), rng), send)


def _judged(exchange: Exchange, key: int, nearness: float, recorder: Recorder) -> int:
    found = {each["key"]: each["distance"] for each in json.loads(exchange.body)["neighbours"]}
    if found.get(key, np.inf) <= nearness:
        return RIGHT
    recorder.note(f"search: key {key} is not found by its own picture; found were {found}")
    return WRONG


class _Rude:
    """Clients that hang up, and clients that drip."""

    def __init__(self, task: Soak, until: float) -> None:
        self._task, self._until = task, until
        self._rng = np.random.default_rng(task.plan.seed + 3)
        good = max(task.plan.groups, key=lambda group: group[0])[1]
        self._contents = [each.request for each in good]
        self._tasks: set[asyncio.Task[None]] = set()
        self.hung_up: list[HungUp] = []
        self.dripped: list[Dripped] = []

    def hang_up(self) -> None:
        if len(self._tasks) < _MOST_HANGING:
            task = asyncio.get_running_loop().create_task(self._hang_up())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _hang_up(self) -> None:
        content = self._contents[int(self._rng.integers(len(self._contents)))]
        left = await hang_up(self._task.plan.port, content, self._rng, _MOST_HANG_UP_S)
        if left is not None:
            self.hung_up.append(left)

    async def settled(self) -> None:
        if self._tasks:
            await asyncio.gather(*self._tasks)

    async def drip(self, number: int) -> None:
        """One connection that drips, and another when the server has ended it."""
        part = ("headers", "body")[number % 2]
        await asyncio.sleep(number * self._task.drip_interval_s / max(1, self._task.num_dripping))
        while time.monotonic() < self._until:
            done = await drip(self._task.plan.port, part, self._task.drip_interval_s, self._until)
            if done is not None:
                self.dripped.append(done)


async def _verify(task: Verify, kept: _Kept) -> tuple[Verified, Seen]:
    pool = Pool(task.port, max_connections=16, limit_s=kept.soak.plan.limit_s)
    recorder = Recorder(0.0)
    with kept.soak.journal.open("a") as journal:
        writes = Writes(pool, recorder, kept.soak.known, journal, nearness=kept.soak.nearness, seed=0)
        writes.keys = kept.keys
        verified = await writes.verify()
    pool.close()
    return verified, recorder.seen()
