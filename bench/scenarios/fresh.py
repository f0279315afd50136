"""A job in a process of its own, so that neither threads nor memory nor a crash of one scenario meets another.

In: a job. Out: its document, or RunFailed with the message of what went wrong, whether the system under test raised,
LoadGen complained or the process died. LoadGen runs in a thread; the process's first thread waits for the outcome and
then ends the process, since a LoadGen whose queries are not answered never returns.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from bench.scenarios.measuring import Job, measure
from semblance.errors import SemblanceError

_JOIN_S = 10


class RunFailed(SemblanceError):
    """A scenario without a result."""


def measure_fresh(job: Job) -> dict[str, Any]:
    """`measure(job)` in a new process. Raises RunFailed."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, job), daemon=True)
    process.start()
    theirs.close()  # so that its end is seen where the process dies
    try:
        is_well, outcome = ours.recv()
    except EOFError:
        process.join(_JOIN_S)
        is_well, outcome = False, f"its process ended with status {process.exitcode}"
    finally:
        ours.close()
        process.join(_JOIN_S)
        if process.is_alive():
            process.kill()
    if not is_well:
        raise RunFailed(f"{job.scenario}, {job.asked.form}: {outcome}")
    document: dict[str, Any] = outcome
    return document


def _serve(connection: Connection, job: Job) -> None:
    """Send the outcome and end the process, whatever its other threads do."""
    outcomes: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def fail(error: BaseException) -> None:
        outcomes.put((False, _said(error)))

    def work() -> None:
        try:
            outcomes.put((True, measure(job, fail)))
        except BaseException as error:
            fail(error)

    threading.Thread(target=work, daemon=True).start()
    connection.send(outcomes.get())
    connection.close()
    os._exit(0)  # a thread that stands in LoadGen would keep, or crash, an ordinary end


def _said(error: BaseException) -> str:
    """What a user can mend needs no name; of anything else the kind is half of the message."""
    return str(error) if isinstance(error, SemblanceError) else f"{type(error).__name__}: {error}"
