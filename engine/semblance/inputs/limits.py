"""What one picture may cost, and all that are decoded at a time, and the one way to read a picture's file.

In: a path. Out: its bytes, when there are not too many of them; the size is asked for before anything is read. A folder
of strangers' pictures holds files that are no pictures, pipes that never end, and a few kilobytes that claim to be
gigabytes of pixels: none of them may take a build's memory with it, nor may several together.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from semblance.errors import ImageError, ImageTooLarge
from semblance.options import checked_count

_PIXELS_PER_PROCESSOR = 25_000_000  # photographs of most cameras never wait for each other
EXPECTED_FILE = "expected an image file (JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF)"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one picture may cost. Raises InputError for a limit below 1."""

    max_pixels: int = 100_000_000  # height x width as its header declares them; some count twice, see Header.weight
    max_bytes: int = 256 * 1024 * 1024  # of the encoded picture
    is_scaled: bool = False  # large JPEGs at 1/2, 1/4 or 1/8 where the model's input is far smaller: fast, not the same

    def __post_init__(self) -> None:
        checked_count("max_pixels", self.max_pixels)
        checked_count("max_bytes", self.max_bytes)


DEFAULT = Limits()


def read_file(path: Path, limits: Limits = DEFAULT) -> bytes:
    """The bytes of the file at `path`, at most `limits.max_bytes`; a larger one is not read at all.

    Raises ImageError: no such file, a folder, a pipe or device, not readable, or too large.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for its other end, for ever
            raise ImageError(f"{path}: a pipe, socket or device; {EXPECTED_FILE}")
        check_bytes(status.st_size, str(path), limits)
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file; {EXPECTED_FILE}") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path}: a folder; {EXPECTED_FILE}; give a folder where a source is asked for") from error
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{path}: cannot be read ({error}); {EXPECTED_FILE}") from error
    check_bytes(len(content), str(path), limits)  # it may have grown
    return content


def check_bytes(num_bytes: int, name: str, limits: Limits) -> None:
    """Raise ImageTooLarge for more bytes than `limits` has."""
    if num_bytes > limits.max_bytes:
        raise ImageTooLarge(
            f"{name}: {num_bytes:,} bytes, the limit is {limits.max_bytes:,}; "
            "raise it (--max-bytes), or make the file smaller"
        )


def check_pixels(height: int, width: int, name: str, limits: Limits, *, weight: int = 1) -> int:
    """How many pixels these are, each counted `weight` times; raise ImageTooLarge for more than `limits` has."""
    counted = height * width * weight
    if counted > limits.max_pixels:
        twice = f", which count {weight} times in this kind of picture" if weight > 1 else ""
        raise ImageTooLarge(
            f"{name}: {height:,} x {width:,} = {height * width:,} pixels{twice}, the limit is {limits.max_pixels:,}; "
            "raise it (--max-pixels), or make the picture smaller"
        )
    return counted


# ------------------------------------------------------------------------------------------------------------------
# All threads together

_queue = threading.Lock()  # first come, first served, so that small pictures do not keep a large one waiting for ever
_changed = threading.Condition()
_num_taken = 0


@cache  # the system is asked for it in the time that a small picture takes to decode
def _num_processors() -> int:
    return os.cpu_count() or 1


@contextmanager
def room_for(num_pixels: int, limits: Limits) -> Iterator[None]:
    """Wait until `num_pixels` fit beside those that other threads of this process decode at this moment.

    There is room for the largest picture that `limits` allow, or for 25 million pixels to each processor.
    """
    global _num_taken
    room = max(limits.max_pixels, _PIXELS_PER_PROCESSOR * _num_processors())
    with _queue, _changed:
        _changed.wait_for(lambda: _num_taken == 0 or _num_taken + num_pixels <= room)
        _num_taken += num_pixels
    try:
        yield
    finally:
        with _changed:
            _num_taken -= num_pixels
            _changed.notify_all()
