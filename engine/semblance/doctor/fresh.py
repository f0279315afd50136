"""Programs that may crash or hang, each in a process of its own: what became of it is an answer, never our own end.

In: a command and a time limit. Out: its status and output; or, of a program that takes notes into a file, what it found
out, or what it was at when it died or was ended. A driver that hangs in the kernel cannot even be killed, so nothing
here waits for a process that was.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_SIGKILL = 9  # which Windows has no name for
_GRACE_SECONDS = 2.0  # for a killed process to be gone


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and all that it printed."""

    status: int | None  # negative: the signal it died of; None: it was ended after its time
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program noted: its result, or why there is none."""

    result: Any
    problem: str | None


def run_bounded(command: Sequence[str], *, seconds: float) -> Ended:
    """Run `command` for at most `seconds`; OSError where it cannot be started."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        said = Path(folder) / "said"  # a file, not a pipe: a child that outlives the command cannot hold it open
        with said.open("wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        status = None
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _kill(process)
        return Ended(status, said.read_text(errors="replace"))


def run_noting(arguments: Sequence[str], *, seconds: float) -> Outcome:
    """Run Python with `arguments` and, as the last one, a file for the notes that `note` writes."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "note.json"
        ended = run_bounded([sys.executable, *arguments, str(file)], seconds=seconds)
        try:
            noted = json.loads(file.read_text())
        except (OSError, ValueError):  # it did not come that far, or died while it wrote
            noted = {}
    # One that is done may still crash or hang on its way out, as drivers do; it would do so with its user too
    if ended.status == 0 and ("result" in noted or "problem" in noted):
        return Outcome(noted.get("result"), noted.get("problem"))
    return Outcome(
        None, _end_told(ended, seconds, noted.get("stage", "ending, its work done" if noted else "starting"))
    )


def note(file: Path, **fields: Any) -> None:
    """What the program has to tell: `stage` while it is at work, `result` or `problem` at the end."""
    file.write_text(json.dumps(fields))


def _end_told(ended: Ended, seconds: float, stage: str) -> str:
    if ended.status is None:
        return f"it did not end in {seconds:g} s and was stopped, while {stage}"
    if ended.status < 0:
        how = f"the process died of {_signal_name(-ended.status)} while {stage}"
        if -ended.status == _SIGKILL:
            how += " (as the system ends one where memory runs out)"
    else:
        how = f"the process ended with status {ended.status} while {stage}"
    lines = [line.strip() for line in ended.text.splitlines() if line.strip()]
    return f"{how}; its last words: {lines[-1]}" if lines else how


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End it and its children, should it still run."""
    if process.poll() is not None:
        return
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, _SIGKILL)
        else:
            process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_SECONDS)
