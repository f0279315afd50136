"""Ctrl-C and a polite kill: the command ends on its way out, so that what was half made is removed.

In: signals. Out: SystemExit with status 128 + the signal's number, in the main thread. Python raises it in whatever
that thread is at; where this is a destructor or a callback, the exception is printed and forgotten, and the work would
go on. So a signal is remembered too, and `check_signals`, which every progress bar calls, raises it again.
"""

from __future__ import annotations

import signal
from types import FrameType

_received: list[int] = []  # of this process, since `listen_for_signals`


def listen_for_signals() -> None:
    """From now on SIGTERM and SIGINT end the command; one that the parent process had ignored stays so."""
    _received.clear()
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell sets it for jobs in the background
            signal.signal(number, _stop)


def check_signals() -> None:
    """Raise SystemExit where a signal was received."""
    if _received:
        raise SystemExit(128 + _received[0])


def _stop(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    check_signals()
