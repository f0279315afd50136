"""Files that are there whole or not at all: written aside, flushed to the disk, then renamed into place.

In: a path, and its content or what writes it. Out: the file under its name, its sha256 and its size. Whoever reads at
`path` sees the old content or the new, never a part of it. A process killed at any moment leaves at worst a hidden
`.NAME.*.part` file beside it, which nobody reads.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Written:
    """A file as it lies on the disk."""

    num_bytes: int
    sha256: str  # 64 hex digits


def write_aside(path: Path, write: Callable[[Path], None]) -> Written:
    """Have `write` fill a file beside `path`, then put it in place of `path`, durably.

    An exception of `write` leaves `path` as it was and nothing beside it.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")  # two writers may meet here
    try:
        write(aside)
        _sync(aside)
        written = Written(aside.stat().st_size, sha256_of(aside))
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return written


def write_whole(path: Path, content: bytes) -> Written:
    """Put `content` at `path`, durably, in the place of what was there; the folder must exist. Raises OSError."""

    def write(aside: Path) -> None:
        aside.write_bytes(content)

    return write_aside(path, write)


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable; Windows has no way to, and needs none."""
    if os.name == "posix":
        _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
