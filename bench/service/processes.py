"""Processes that end with whoever started them: nothing of a run is left behind, not even after a crash.

In: a function with a pipe, or the id of a process. Out: a helper process that answers tasks; memory and processor time
of a process with all below it. On Linux the kernel ends a helper when its parent dies (PR_SET_PDEATHSIG); elsewhere the
end of its pipe does.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from semblance.errors import BackendError

_PR_SET_PDEATHSIG = 1
_JOIN_S = 5.0
_PATIENCE_S = 1800.0
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before a fork, where nothing may be


def end_with_parent() -> None:
    """The kernel is to kill this process when the thread that started it ends."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Helper:
    """A process that does tasks one after another: `with Helper(work) as helper: helper.ask(task)`.

    `work(task)` runs there; it must be a function of a module.
    """

    def __init__(self, work: Callable[[Any], Any], *, name: str) -> None:
        """Nothing runs yet."""
        self._work, self._name = work, name

    def __enter__(self) -> Helper:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._work), name=self._name, daemon=True)
        self._process.start()
        theirs.close()  # so that its end is seen where the process dies
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._pipe.send(None)
                self._process.join(_JOIN_S)
        except OSError:
            pass
        finally:
            self._pipe.close()
            if self._process.is_alive():
                self._process.kill()
            self._process.join(_JOIN_S)

    def ask(self, task: Any, within_s: float = _PATIENCE_S) -> Any:
        """The outcome of a task. Raises BackendError with what went wrong there."""
        self.begin(task)
        return self.outcome(within_s)

    def begin(self, task: Any) -> None:
        """Give it a task, and do not wait."""
        self._pipe.send(task)

    def is_done(self, within_s: float = 0.0) -> bool:
        """Whether an outcome is there, or comes within that time."""
        return self._pipe.poll(within_s)

    def outcome(self, within_s: float = _PATIENCE_S) -> Any:
        """What became of the task. Raises BackendError, also where nothing came of it in that time."""
        if not self.is_done(within_s):
            raise BackendError(f"the {self._name} is not done after {within_s:g} s")
        try:
            is_well, outcome = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(_JOIN_S)
            raise BackendError(f"the {self._name} ended with status {self._process.exitcode}") from None
        if not is_well:
            raise BackendError(f"the {self._name} failed: {outcome}")
        return outcome


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent has it too, and ends us
    try:
        while (task := pipe.recv()) is not None:
            try:
                pipe.send((True, work(task)))
            except Exception as error:
                import traceback

                traceback.print_exc(file=sys.stderr)
                pipe.send((False, f"{type(error).__name__}: {error}"))
    except (EOFError, OSError):  # the parent has ended
        pass


# ----------------------------------------------------------------------------------------------------------------------
# What processes take


def family(pid: int) -> list[int]:
    """A process and all below it; nothing where it has ended, or the system does not tell."""
    found, waiting = [], [pid]
    while waiting:
        each = waiting.pop()
        try:
            threads = os.listdir(f"/proc/{each}/task")
            for thread in threads:
                waiting += map(int, Path(f"/proc/{each}/task/{thread}/children").read_text().split())
        except (OSError, ValueError):
            continue
        found.append(each)
    return found


def rss_bytes(pid: int) -> int:
    """Memory in use by a process and all below it, as the sum of each one's; pages that they share count for each."""
    total = 0
    for each in family(pid):
        try:
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        except (OSError, IndexError):
            continue
    return total


def cpu_s(pid: int) -> float:
    """Processor seconds of a process and all below it that have not ended."""
    total = 0.0
    for each in family(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total
