"""Several processes that serve as one: started, watched, replaced when they die, and drained together.

In: sockets that listen, and the name of a function that each process calls. Out: returns when all have drained. The
parent serves nothing itself. Between it and each child is a pair of sockets: a child says when it is ready, the parent
when to drain, and to whoever writes, when the others are through. When the parent is gone, by whatever, that is closed
and the children end. They are in sessions of their own, since a terminal's Ctrl-C goes to all of a group.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from pathlib import Path
from typing import Any

from semblance.errors import ServiceError
from semblance.service import sockets as listening
from semblance.service.child import Child
from semblance.service.metrics import FOLDER, forget
from semblance.service.server import SIGNALS
from semblance.service.worker import DRAIN, OTHERS_ENDED

_METRICS = "metrics"  # a folder
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0  # before a dead worker is replaced
_TOO_LONG_S = 6.0  # over all limits; a worker ends itself a second earlier
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How many, and how long is waited for them."""

    num_workers: int
    drain_s: float = 30.0
    drain_delay_s: float = 0.0
    most_deaths: int = 5  # as many in a row, each so soon after its start, and it is given up
    soon_s: float = 30.0


def supervise(
    target: str,
    given: Any,
    sockets: Sequence[socket.socket],
    options: WorkerOptions,
    on_ready: Callable[[], object] = lambda: None,
) -> None:
    """Run `target` ("module:function") as `function(given, worker)` in each process until a signal; then drain.

    `given` is pickled; `on_ready` is called once, when all are ready. Raises ServiceError where a worker cannot start
    or they die time and again, SystemExit at a second signal.
    """
    if os.name != "posix":
        raise ServiceError("several workers need a POSIX system; start one, and more beside it on other ports")
    with _folder() as folder, _wakened() as wakening:
        _Supervisor(target, given, sockets, options, on_ready, folder, wakening).run()


class _Supervisor:
    def __init__(
        self,
        target: str,
        given: Any,
        sockets: Sequence[socket.socket],
        options: WorkerOptions,
        on_ready: Callable[[], object],
        folder: Path,
        wakening: socket.socket,
    ) -> None:
        self._target, self._given, self._sockets, self._options = target, given, sockets, options
        self._on_ready, self._folder, self._wakening = on_ready, folder, wakening
        self._children = [Child(number) for number in range(options.num_workers)]
        self._deaths: deque[float] = deque(maxlen=options.most_deaths)  # those soon after a start
        self._failure: str | None = None
        self._was_ready = False
        self._drains_since: float | None = None
        self._has_told_writer = False

    def run(self) -> None:
        try:
            while self._drains_since is None or any(child.process for child in self._children):
                self._start_due()
                self._wait()
                if self._drains_since is not None:
                    self._go_on_draining(time.monotonic() - self._drains_since)
        finally:
            for child in self._children:  # none, unless this ends by an exception
                if child.process is not None:
                    child.process.kill()
                    child.process.join()
            listening.close(self._sockets)
        if self._failure is not None:
            raise ServiceError(self._failure)

    # ------------------------------------------------------------------------------------------------------------------

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.start_at is not None and child.start_at <= now:
                child.start(self._target, self._given, self._sockets, self._folder)

    def _wait(self) -> None:
        """Until a signal, a word from a child, its death, or the next start is due."""
        running = {child.process.sentinel: child for child in self._children if child.process is not None}
        links = {child.link: child for child in self._children if child.link is not None}
        due = [child.start_at for child in self._children if child.start_at is not None]
        seconds = max(0.0, min(due) - time.monotonic()) if due else None
        if self._drains_since is not None:
            seconds = 0.05  # its limits are looked at then
        happened = connection.wait([self._wakening, *links, *running], seconds)
        for link in happened:
            if isinstance(link, socket.socket) and link in links:
                self._hear(links[link])
        for sentinel in happened:
            if isinstance(sentinel, int):
                self._bury(running[sentinel])
        if self._wakening in happened:
            self._on_signals(self._wakening.recv(64))

    def _hear(self, child: Child) -> None:
        if child.hear():
            _log.info("worker %d is ready", child.number, extra={"worker": child.number})
            if not self._was_ready and all(each.is_ready for each in self._children):
                self._was_ready = True
                self._on_ready()

    def _on_signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number not in SIGNALS:
                continue
            if self._drains_since is not None:
                raise SystemExit(128 + number)
            self._drain()

    # ------------------------------------------------------------------------------------------------------------------

    def _bury(self, child: Child) -> None:
        """A process ended: unless that was to be, another takes its number."""
        pid, how = child.bury()
        forget(pid, self._folder / _METRICS)
        if self._drains_since is not None:
            return
        lived_s = time.monotonic() - child.started_at
        if why := child.why_failed:
            if not self._was_ready:  # it would fail again; later it may be that another writer has the gallery's lock
                self._give_up(why)
                return
            how = f"{how} ({why})"
        if lived_s < self._options.soon_s:
            self._deaths.append(time.monotonic())
        else:
            self._deaths.clear()
        most, soon_s = self._options.most_deaths, self._options.soon_s
        if len(self._deaths) == most and self._deaths[-1] - self._deaths[0] < most * soon_s:
            self._give_up(
                f"workers died {most} times within {soon_s:g} s of their start, the last (number {child.number}) "
                f"{how}; the log has their last words"
            )
            return
        wait_s = min(_FIRST_WAIT_S * 2 ** max(0, len(self._deaths) - 1), _LONGEST_WAIT_S)
        child.start_at = time.monotonic() + wait_s
        _log.error(
            "worker %d (process %d) ended %s, %.1f s after its start; another is started in %.1f s",
            child.number, pid, how, lived_s, wait_s, extra={"worker": child.number},
        )  # fmt: skip

    def _give_up(self, why: str) -> None:
        self._failure = why
        self._drain()

    def _drain(self) -> None:
        if self._drains_since is None:
            self._drains_since = time.monotonic()
            for child in self._children:
                child.start_at = None
                child.tell(DRAIN)

    def _go_on_draining(self, seconds: float) -> None:
        writer, *others = self._children
        if seconds >= self._options.drain_delay_s:
            listening.close(self._sockets)  # as the workers do: else connections would wait here for nobody
        if not self._has_told_writer and not any(child.process for child in others):
            self._has_told_writer = True
            writer.tell(OTHERS_ENDED)
        if seconds >= self._options.drain_delay_s + 2 * self._options.drain_s + _TOO_LONG_S:
            late = [child for child in self._children if child.process is not None]
            self._failure = self._failure or f"workers {[child.number for child in late]} did not end and were killed"
            for child in late:
                assert child.process is not None
                child.process.kill()


@contextmanager
def _folder() -> Iterator[Path]:
    """A private folder for what the processes share, with a place for their figures."""
    folder = Path(tempfile.mkdtemp(prefix="semblance-"))  # for this user only
    before = os.environ.get(FOLDER)
    (folder / _METRICS).mkdir()
    os.environ[FOLDER] = str(folder / _METRICS)  # the processes read it when they import prometheus_client
    try:
        yield folder
    finally:
        if before is None:
            del os.environ[FOLDER]
        else:
            os.environ[FOLDER] = before
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _wakened() -> Iterator[socket.socket]:
    """A socket from which the numbers of signals are read; nothing else is done about them."""
    resource_tracker.ensure_running()  # it unblocks signals, so not between blocking them and a start
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    before = signal.set_wakeup_fd(theirs.fileno())
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        ours.close()
        theirs.close()
