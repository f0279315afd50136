"""Inside a process that is to be killed: every step that it takes in a gallery's folder is counted and written down.

In: the functions of `os` that change files or flush them, which this puts itself in the way of. Out: a log of the
steps, and the end of the process before or after one of them. Since the system's cache outlives a process, what was
written before a kill is not lost as it would be with the power; so the process may end with a part of a file cut off
that it was about to flush.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

How = Literal["before", "after", "cut"]  # cut: before, with the end of the file lost that would have been flushed

_ASIDE = re.compile(r"\.(.+)\.\d+\.[0-9a-f]{8}\.part")  # as semblance.files names what is not in place yet


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a process did to the files of a gallery."""

    operation: str  # the function of `os`
    name: str  # relative to the gallery, "." itself; what is not in place yet as "NAME (aside)"
    at: float  # of a clock that all processes share, in seconds
    commit: str | None = None  # sha256 of the manifest that is put in place by it


@dataclass(frozen=True, slots=True)
class Moment:
    """When a process is to end: at step `number`, counted from 0."""

    number: int
    how: How
    share: float = 0.0  # of the file that is left of a cut one


class Watch:
    """Writes down every step of this process in the folder `gallery`, and ends the process at `moment`."""

    def __init__(self, gallery: Path, log: Path, moment: Moment | None) -> None:
        self._gallery = gallery
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._moment = moment
        self._write = os.write
        self._paths: dict[int, Any] = {}  # of descriptors
        self._lock = threading.Lock()  # shards are written in a thread of their own
        self._num_steps = 0

    def install(self) -> None:
        """Put it in the way of the functions of `os` that change something, or flush it."""
        for name in ("mkdir", "rmdir", "unlink"):
            self._put(name, lambda path, *_: path)
        self._put("replace", lambda _, path: path)
        opened = os.open

        def open_and_remember(path: Any, *arguments: Any, **options: Any) -> int:
            descriptor = opened(path, *arguments, **options)
            self._paths[descriptor] = path
            return descriptor

        os.open = open_and_remember
        self._put("open", lambda path, flags, *_: path if flags & os.O_CREAT else None)
        for name in ("fsync", "ftruncate", "write"):
            self._put(name, lambda descriptor, *_: self._paths.get(descriptor))

    def _put(self, operation: str, path_of: Callable[..., Any]) -> None:
        function = getattr(os, operation)

        def watched(*arguments: Any, **options: Any) -> Any:
            path = path_of(*arguments)
            name = None if path is None else step_name(self._gallery, Path(path))
            if name is None:
                return function(*arguments, **options)
            number = self._note(operation, name, arguments)
            self._end_at(number, is_after=False, unflushed=Path(path) if flushes_file(operation, name) else None)
            try:
                return function(*arguments, **options)
            finally:  # a folder that is there already is a step too
                self._end_at(number, is_after=True)

        setattr(os, operation, watched)

    def _note(self, operation: str, name: str, arguments: tuple[Any, ...]) -> int:
        commit = None
        if (operation, name) == ("replace", "manifest.json"):
            commit = hashlib.sha256(Path(arguments[0]).read_bytes()).hexdigest()
        with self._lock:
            number = self._num_steps
            self._num_steps += 1
            step = Step(operation, name, time.monotonic(), commit)
            self._write(self._log, (json.dumps(asdict(step)) + "\n").encode())
        return number

    def _end_at(self, number: int, *, is_after: bool, unflushed: Path | None = None) -> None:
        moment = self._moment
        if moment is None or moment.number != number or is_after != (moment.how == "after"):
            return
        if moment.how == "cut" and unflushed is not None:
            os.truncate(unflushed, int(moment.share * unflushed.stat().st_size))
        os.kill(os.getpid(), signal.SIGKILL)


def flushes_file(operation: str, name: str) -> bool:
    """Whether a step flushes a file, of which a loss of power before it would take a part."""
    return operation == "fsync" and name not in (".", "shards", "sift", "index")


def step_name(gallery: Path, path: Path) -> str | None:
    """What a step calls `path`; None for one outside of the gallery."""
    if path != gallery and gallery not in path.parents:
        return None
    if found := _ASIDE.fullmatch(path.name):
        return f"{path.with_name(found[1]).relative_to(gallery).as_posix()} (aside)"
    return path.relative_to(gallery).as_posix()


def run_watched() -> None:
    """The command line in this process, watched; its first argument is a JSON document: gallery, log, moment."""
    from semblance.cli import main as run_command_line

    plan = json.loads(sys.argv.pop(1))
    moment = Moment(**plan["moment"]) if plan["moment"] else None
    Watch(Path(plan["gallery"]), Path(plan["log"]), moment).install()
    run_command_line()


def read_steps(log: Path) -> list[Step]:
    """The steps that a watched process wrote down; the last may be the one before which it ended."""
    return [Step(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []
