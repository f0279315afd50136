"""One writer at a time: a lock file in the gallery that names its holder.

In: a gallery's folder. Out: the lock for the length of a `with` body, or a GalleryError that says who holds it. The
system's own file lock decides, which no killed process can leave behind; process number and host are written into the
file for people, and for file systems that share files but not locks: there a holder on another host is believed.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from semblance.errors import GalleryError

LOCK_NAME = "lock"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who writes, or wrote until it was killed."""

    pid: int
    host: str
    since: str  # ISO 8601, UTC

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@contextmanager
def writer_lock(gallery: Path) -> Iterator[None]:
    """Hold the lock of the folder `gallery`, which exists; a lock that a killed process left is taken over.

    Raises GalleryError where another writer holds it, OSError where the folder refuses.
    """
    path = gallery / LOCK_NAME
    descriptor = _locked(path)
    try:
        before = _holder(descriptor)
        if before is not None:
            if before.host != socket.gethostname():
                raise GalleryError(
                    f"{gallery} is being written by {before}; if that process is no more, remove {path} and try again"
                )
            _log.warning("%s: taking over the lock of %s, which ended without a word", gallery, before)
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, _described().encode())
    except BaseException:
        os.close(descriptor)
        raise
    try:
        yield
    finally:
        with suppress(OSError):  # on a disk gone read-only the next writer finds it stale
            # where the body removed the folder, another writer may have begun a new one there, with its own lock
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                path.unlink()  # still locked: nobody can have taken it meanwhile
        os.close(descriptor)


def _locked(path: Path) -> int:
    """A descriptor of the lock file with the system's lock on it. Raises GalleryError where somebody else has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            _lock(descriptor)
            # whoever held it before may have removed the file since: then this is a lock on nothing
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise GalleryError(
                f"{path.parent} is being written by {holder or 'another process'}; wait until it is done, or stop it"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Raises BlockingIOError where another process, or another writer of this one, has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            # far behind what is written, since there a locked byte cannot even be read
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError as error:
            raise BlockingIOError from error
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(descriptor: int) -> Holder | None:
    """None where nobody is named, or what is written there was cut short by a kill."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        raw = json.loads(os.read(descriptor, 4096))
        return Holder(int(raw["pid"]), str(raw["host"]), str(raw["since"]))
    except (ValueError, KeyError, TypeError):
        return None


def _described() -> str:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}) + "\n"
