"""A contender's process: it loads, answers and is timed here, and nothing else happens in it.

In: requests over a pipe. Out: the seconds of each call, and answers where they are asked for. What lies between two
calls, the pipe above all, is in no figure.
"""

from __future__ import annotations

import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.contenders import Asked, Loaded, find
from semblance.errors import SemblanceError

_LOOK_S, _MOST_REST_S = 0.01, 0.5


@dataclass(frozen=True, slots=True)
class Take:
    """Begin a workload: prepare its input, run it twice, the second time timed, and answer."""

    given: Any


@dataclass(frozen=True, slots=True)
class Turn:
    """Run the workload that was taken last."""

    calls: int
    warm: bool  # one more call before, which does not count


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a contender did not get ready, or stopped, in one line."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A contender that waits for work."""

    load_s: float
    load_bytes: int | None  # memory of its own that loading took


@dataclass(frozen=True, slots=True)
class Taken:
    """The first answers of a workload."""

    answers: Any
    once_s: float  # of a call that is not the first
    rest_s: float  # until its threads slept after it


@dataclass(frozen=True, slots=True)
class Done:
    """A turn's times."""

    seconds: list[float]
    peak_bytes: int | None  # until now, of this process or of the programs that it starts


def serve(connection: Connection, kind: str, name: str, asked: Asked, rehearsal: Asked | None) -> None:
    """Load, say Ready, then answer requests until None comes; Failed at the first exception.

    `rehearsal` is a small task of the same sort, loaded and thrown away before, so that imports are no part of the
    loading that is timed.
    """
    try:
        file = find(kind, name)
        if rehearsal is not None:
            file.load(rehearsal)
        before, start = own_bytes(), time.perf_counter()
        loaded = file.load(asked)
        seconds = time.perf_counter() - start
        after = own_bytes()
        connection.send(Ready(seconds, None if before is None or after is None else after - before))
        _work(connection, loaded)
    except (EOFError, BrokenPipeError):  # the run has ended without us
        return
    except BaseException as error:
        connection.send(Failed(_said(error, is_expected=kind == "known")))


def _work(connection: Connection, loaded: Loaded) -> None:
    prepared = None
    while (request := connection.recv()) is not None:
        if isinstance(request, Take):
            prepared = loaded.prepare(request.given)
            answer = loaded.run(prepared)  # the first call at a shape builds it
            (once_s,) = _timed(loaded, prepared, 1)
            rest_s = come_to_rest()
            connection.send(Taken(loaded.answers(answer), once_s, rest_s))
        else:
            if request.warm:
                loaded.run(prepared)
            seconds = _timed(loaded, prepared, request.calls)
            come_to_rest()
            connection.send(Done(seconds, (loaded.peak_bytes or peak_bytes)()))


def _timed(loaded: Loaded, prepared: Any, calls: int) -> list[float]:
    run, clock, seconds = loaded.run, time.perf_counter, []
    for _ in range(calls):
        start = clock()
        run(prepared)
        seconds.append(clock() - start)
    return seconds


def come_to_rest() -> float:
    """Wait until the threads of this process sleep, and no longer than a while; how many seconds that took.

    ONNX Runtime's look for more work for tens of milliseconds after a run, at full speed: the processors that they take
    are those of the next contender.
    """
    start = time.perf_counter()
    is_awake = True
    while is_awake and time.perf_counter() - start < _MOST_REST_S:
        before = time.process_time()
        time.sleep(_LOOK_S)
        is_awake = time.process_time() - before > _LOOK_S / 4
    return time.perf_counter() - start


def _said(error: BaseException, *, is_expected: bool) -> str:
    """What a user can mend needs no name; of anything else the kind is half of the message, and where it happened."""
    if isinstance(error, SemblanceError):
        return " ".join(str(error).split())
    if not is_expected:
        traceback.print_exception(error, file=sys.stderr)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


# ------------------------------------------------------------------------------------------------------------------
# Memory


def peak_bytes() -> int | None:
    """The most that this process had in memory so far; None where the system does not tell.

    Not getrusage's ru_maxrss, which on Linux starts at what the parent had.
    """
    return _status("VmHWM")


def own_bytes() -> int | None:
    """Memory that is this process's alone: files mapped are not; None where the system does not tell."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)  # what was freed and is kept for later is nobody's need
    return _status("RssAnon")


def _status(name: str) -> int | None:
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
