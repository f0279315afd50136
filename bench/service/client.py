"""The client: a process with one thread that sends what a plan says and looks at every answer.

In: plans over a pipe. Out: `Seen`. Open loop: requests are sent when they are due, whatever became of those before, and
their time counts from then; so a server that stalls is charged for every request that would have come meanwhile
(coordinated omission). Closed loop: each answer brings the next request.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import numpy as np

from bench.service.connections import Exchange, Pool
from bench.service.load import Floats, Piece, Plan, Seen
from bench.service.recording import Recorder

_DRAIN_S = 60.0
_BURST = 16  # late requests that are sent before answers are looked at again


def run_plan(plan: Plan) -> Seen:
    """Do what a plan says."""
    seen: Seen = run(_run(plan))
    return seen


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """`work` in uvloop where that is installed."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ImportError:
        factory = None
    gc.collect()
    gc.freeze()  # what was made beforehand is not looked through again and again
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


async def _run(plan: Plan) -> Seen:
    pool = Pool(plan.port, max_connections=plan.concurrency or plan.max_connections, limit_s=plan.limit_s)
    recorder = Recorder(plan.tolerance)
    pieces = drawn(plan)
    recorder.begin()
    if plan.concurrency is not None:
        await _closed(pool, recorder, pieces, plan.concurrency, plan.seconds)
    else:
        assert plan.rate_per_s is not None, "a plan has a concurrency or a rate"

        def send(due: float) -> None:
            piece = next(pieces)
            pool.ask(Exchange(piece.request, due, lambda exchange: _nothing(recorder.take(exchange, piece))))

        rng = np.random.default_rng(plan.seed)
        await at(arrivals(plan.rate_per_s, plan.seconds, rng if plan.is_poisson else None), send)
    recorder.end()
    await pool.drained(_DRAIN_S)
    pool.close()
    return recorder.seen(num_retried=pool.num_retried)


def _nothing(_: object) -> None:
    pass


async def _closed(pool: Pool, recorder: Recorder, pieces: Iterator[Piece], concurrency: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    num_left = concurrency
    is_over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send() -> None:
        nonlocal num_left
        now = time.monotonic()
        if now >= end:
            num_left -= 1
            if not num_left and not is_over.done():
                is_over.set_result(None)
            return
        piece = next(pieces)

        def done(exchange: Exchange) -> None:
            recorder.take(exchange, piece)
            if exchange.failure == "unreachable":  # or it would be tried as fast as it fails
                asyncio.get_running_loop().call_later(0.05, send)
            else:
                send()

        pool.ask(Exchange(piece.request, now, done))

    for _ in range(concurrency):
        send()
    await asyncio.sleep(max(0.0, end - time.monotonic()))
    recorder.end()
    await is_over


def arrivals(rate_per_s: float, seconds: float, rng: np.random.Generator | None) -> Floats:
    """Seconds from now at which requests are due [R]: a Poisson process, or evenly spaced without `rng`."""
    if rng is None:
        return np.arange(0.0, seconds, 1 / rate_per_s)
    gaps = rng.exponential(1 / rate_per_s, int(rate_per_s * seconds * 1.2 + 50))
    times: Floats = np.cumsum(gaps)
    return times[times < seconds]


async def at(times: Floats, do: Callable[[float], None]) -> None:
    """Call `do(due)` at each of the `times` [R], seconds from now, or as soon after as can be."""
    start = time.monotonic()
    num_late = 0
    for each in (start + times).tolist():
        wait = each - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        elif (num_late := num_late + 1) % _BURST == 0:
            await asyncio.sleep(0)
        do(each)


def drawn(plan: Plan) -> Iterator[Piece]:
    """Pieces by their shares, without end: in a group each in turn, beginning anywhere."""
    rng = np.random.default_rng(plan.seed + 1)
    shares = np.array([share for share, _ in plan.groups])
    nexts = [int(rng.integers(len(group))) for _, group in plan.groups]
    while True:
        for number in rng.choice(len(shares), 4096, p=shares / shares.sum()).tolist():
            group = plan.groups[number][1]
            nexts[number] += 1
            yield group[nexts[number] % len(group)]
