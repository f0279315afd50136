"""How the things of a source are called: uris that are valid and unique, labels, and columns that a gallery can hold.

In: names as file systems, archives and tables give them. Out: names that every gallery can hold, the same on every
machine. A name is only ever changed where it could not be kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

GALLERY_COLUMNS = ("key", "uri", "sha256", "width", "height", "label", "embedding")  # that every gallery has itself

PATH_COLUMNS = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "img_path", "uri",
)  # fmt: skip

_RECENT = 1 << 16


def valid_unicode(text: str) -> str:
    """`text` as UTF-8 can hold it: what is no Unicode in a file name becomes an escape such as \\xe9."""
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte, as JSON may hold
        encoded = text.encode("utf-8", "backslashreplace")
    return encoded.decode("utf-8", "backslashreplace")


def uri_of(path: Path) -> str:
    """With slashes on every system, and valid Unicode even where a file name is not."""
    return valid_unicode(path.as_posix())


def place_of(path: str | os.PathLike[str]) -> str:
    """`path` as it holds from any working directory, and without "..", so that each place has one name.

    Where a linked folder stands before a "..", the two stay: they lead to where the link does.
    """
    plain = os.path.abspath(path)
    if ".." in Path(path).parts and os.path.realpath(plain) != os.path.realpath(path):
        return str(Path(path).absolute())
    return plain


def folder_label(uri: str) -> str | None:
    """The name of the folder that a path lies in; None at the top."""
    folders = [part for part in uri.split("/")[:-1] if part not in ("", ".")]
    return folders[-1] if folders and folders[-1] != ".." else None


def carried(columns: Mapping[str, T]) -> dict[str, T]:
    """`columns` under names that a gallery has free: "width" becomes "source_width"."""
    named = {name: value for name, value in columns.items() if name not in GALLERY_COLUMNS}
    for name in sorted(columns.keys() & GALLERY_COLUMNS):
        free = f"source_{name}"
        while free in named:
            free = f"source_{free}"
        named[free] = columns[name]
    return named


class UniqueNames:
    """Gives each uri of a stream a name of its own: one that was there before gets "#" and its item's number.

    Eight bytes of a hash are kept for each, in sorted runs of which every one is larger than all after it, so that a
    stream of a hundred million names takes less than a gigabyte. Two names of one hash, which that many names hold once
    in thousands of streams, cost the later one its plain name, never its item.
    """

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._runs: list[NDArray[np.uint64]] = []  # each sorted
        self._num_items = 0

    def name(self, uri: str) -> str:
        """`uri`, or the name that the next item of the stream gets in its place."""
        unique = uri
        while not self._add(unique):
            unique = f"{unique}#{self._num_items:06d}"
        self._num_items += 1
        return unique

    def _add(self, uri: str) -> bool:
        """Whether it is new."""
        key = int.from_bytes(blake2b(uri.encode(), digest_size=8).digest(), "little")
        if key in self._recent or any(_holds(run, np.uint64(key)) for run in self._runs):
            return False
        self._recent.add(key)
        if len(self._recent) == _RECENT:
            run = np.sort(np.fromiter(self._recent, np.uint64, _RECENT))
            while self._runs and len(self._runs[-1]) <= len(run):
                run = np.sort(np.concatenate([self._runs.pop(), run]))
            self._runs.append(run)
            self._recent.clear()
        return True


def _holds(run: NDArray[np.uint64], key: np.uint64) -> bool:
    at = int(np.searchsorted(run, key))
    return at < len(run) and bool(run[at] == key)
