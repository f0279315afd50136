"""The gallery as it is now: what others write into it is seen within a fraction of a second, and so is what we write.

In: a gallery's folder, and whoever may write into it. Out: `now`, an open gallery that a request searches to its end,
whatever is written meanwhile. A change is noticed by the manifest's file, which every commit replaces.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semblance.errors import SemblanceError
from semblance.gallery.commits import GroupCommits
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.keypoints import Keypoints
from semblance.gallery.manifest import MANIFEST_NAME
from semblance.gallery.shards import Row
from semblance.inference.encoder import Encoder
from semblance.search import Gallery

_log = logging.getLogger(__name__)
_POLL_S = 0.1  # a look at one file's age costs microseconds


class Writer(Protocol):
    """Whoever changes the gallery: in this process, or in the one of several that writes."""

    async def put(self, row: Row, vector: NDArray[np.float32], keypoints: Keypoints | None = None) -> bool:
        """Store a picture; whether its key is new. It is on the disk when this returns."""

    async def remove(self, key: int) -> bool:
        """Remove a picture; whether there was one. That is on the disk when this returns."""


class LocalWriter:
    """Changes by this process itself."""

    def __init__(self, commits: GroupCommits) -> None:
        self._commits = commits

    async def put(self, row: Row, vector: NDArray[np.float32], keypoints: Keypoints | None = None) -> bool:
        return await asyncio.wrap_future(self._commits.put(row, vector, keypoints))

    async def remove(self, key: int) -> bool:
        return await asyncio.wrap_future(self._commits.remove(key))


class SeenWriter:
    """Changes by another process, which are seen here too before whoever made them hears that they are done."""

    def __init__(self, writer: Writer, live: LiveGallery) -> None:
        self._writer = writer
        self._live = live

    async def put(self, row: Row, vector: NDArray[np.float32], keypoints: Keypoints | None = None) -> bool:
        is_new = await self._writer.put(row, vector, keypoints)
        await self._see()
        return is_new

    async def remove(self, key: int) -> bool:
        was_there = await self._writer.remove(key)
        await self._see()
        return was_there

    async def _see(self) -> None:
        try:
            await asyncio.to_thread(self._live.refresh)
        except SemblanceError as error:  # the change is stored all the same, and is seen with the next
            _log.error("the gallery changed and cannot be opened again: %s", error)


class LiveGallery:
    """A gallery that follows its manifest. `now` may be read in any thread."""

    def __init__(self, path: Path, encoder: Encoder, vectors: VectorGallery | None = None) -> None:
        """Open it, or go on from `vectors`, which are open. Raises GalleryError, SpaceMismatch."""
        self.path = path
        self.writer: Writer | None = None  # None: it is only read here
        self._seen = self._stamp()  # before reading, as in `refresh`
        self.now = Gallery.open(path, encoder) if vectors is None else Gallery(vectors.refreshed(), encoder)
        self._encoder = encoder
        self._refreshing = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.on_refresh: Callable[[Gallery], None] | None = None

    def start(self) -> None:
        """Follow the manifest from now on."""
        self._thread = threading.Thread(target=self._follow, name="semblance-follow", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def refresh(self) -> None:
        """See all that is committed by now. Raises GalleryError."""
        with self._refreshing:
            stamp = self._stamp()  # before reading: what is committed meanwhile is noticed later
            vectors = self.now.vectors.refreshed()
            if vectors is not self.now.vectors:
                self.now = Gallery(vectors, self._encoder)
                if self.on_refresh is not None:
                    self.on_refresh(self.now)
            self._seen = stamp  # else it is tried again

    def _follow(self) -> None:
        failure = ""
        while not self._stop.wait(_POLL_S):
            if self._stamp() == self._seen:
                continue
            try:
                self.refresh()
                failure = ""
            except Exception as error:  # what was open is searched on
                if str(error) != failure:  # it is tried ten times a second
                    unexpected = None if isinstance(error, SemblanceError) else error
                    _log.error("the gallery changed and cannot be opened again: %s", error, exc_info=unexpected)
                failure = str(error)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self.path / MANIFEST_NAME)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size
