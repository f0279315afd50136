"""What keeps a gallery quick that is written in small commits: fewer files, an index that keeps up, no dead weight.

In: the writer of a gallery, again and again, between its commits. Out: at most one further commit each time. Each is
something that a gallery can do without for a while, so whatever fails here is put off, and said in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from semblance.errors import InputError
from semblance.gallery.background_index import BackgroundIndex
from semblance.gallery.writer import GalleryWriter
from semblance.options import checked_count

_log = logging.getLogger(__name__)

_PUT_OFF_S = 60.0  # after a failure, such as a full disk


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When something is done. The defaults suit galleries of any size."""

    merged_shards: int = 32  # small ones, which are joined when there are more
    younger_rows: int = 4096  # than the index, which is brought up to date when there are more ...
    younger_share: float = 0.05  # ... and more than this share of all pictures, ...
    most_younger_rows: int = 20_000  # ... or more than this, since a search compares with each of them
    dead_rows: int = 1024  # which are dropped when there are more ...
    dead_share: float = 0.5  # ... and more than this share of all rows
    threads: int = 1  # that build or change an index; searches go on meanwhile

    def __post_init__(self) -> None:
        for name in ("merged_shards", "younger_rows", "most_younger_rows", "dead_rows"):
            checked_count(name, getattr(self, name), least=0)
        checked_count("threads", self.threads)
        for name in ("younger_share", "dead_share"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise InputError(f"{name} must be a share in 0..1, is {value!r}")


class Maintenance:
    """The upkeep of one gallery, in the thread that writes it."""

    def __init__(self, thresholds: Thresholds, on_ready: Callable[[], None]) -> None:
        """`on_ready` is called, in another thread, when there is something for `step` to do without a commit before."""
        self._thresholds = thresholds
        self._on_ready = on_ready
        self._index: BackgroundIndex | None = None
        self._put_off_until = 0.0

    def step(self, writer: GalleryWriter) -> bool:
        """Do the most pressing thing, in one commit or none; whether it committed something.

        Nothing else is committed meanwhile. Joining shards takes as long as writing one full shard. An index is made in
        another thread, and only named here. Compacting takes as long as writing the whole gallery and building its
        index anew, which for a million pictures is minutes; it comes once more than half of all rows have died. Raises
        what the writer raises; for a while after that there is nothing to do.
        """
        if time.monotonic() < self._put_off_until:
            return False
        before = writer.manifest
        try:
            self._step(writer)
        except Exception as error:
            self._end_indexing(writer)
            self._put_off(error)
            raise
        return writer.manifest is not before

    def abandon(self) -> None:
        """Give up the index that is on its way: from now on nothing is written that the writer does not write."""
        if self._index is not None:
            self._index.abandon()
            self._index = None

    def _step(self, writer: GalleryWriter) -> None:
        if self._is_half_dead(writer):
            self._end_indexing(writer)  # of rows that will have other numbers
            writer.compact(threads=self._thresholds.threads)
        elif self._index is not None and self._index.is_done:
            self._take_index(writer, self._index)
        elif self._has_many_shards(writer):
            writer.merge(most=1)
        elif self._index is None and self._is_index_old(writer):
            writer.is_indexing = True
            self._index = BackgroundIndex(
                writer.index_update(), threads=self._thresholds.threads, on_done=self._on_ready
            )  # fmt: skip

    def _take_index(self, writer: GalleryWriter, index: BackgroundIndex) -> None:
        self._index = None
        writer.is_indexing = False
        if index.error is not None:
            self._put_off(index.error)
        elif index.file is not None:
            writer.commit_index(index.file)

    def _end_indexing(self, writer: GalleryWriter) -> None:
        self.abandon()
        writer.is_indexing = False

    def _put_off(self, error: Exception) -> None:
        self._put_off_until = time.monotonic() + _PUT_OFF_S
        _log.warning("upkeep of the gallery is put off for %.0f s: %s", _PUT_OFF_S, error)

    def _is_half_dead(self, writer: GalleryWriter) -> bool:
        num_rows = writer.manifest.num_rows
        num_dead = num_rows - len(writer)
        return num_dead > self._thresholds.dead_rows and num_dead > self._thresholds.dead_share * num_rows

    def _has_many_shards(self, writer: GalleryWriter) -> bool:
        if len(writer.manifest.shards) <= self._thresholds.merged_shards:
            return False
        small: int = sum(each.stop - each.start for each in writer.stretches_to_merge())
        return small > self._thresholds.merged_shards

    def _is_index_old(self, writer: GalleryWriter) -> bool:
        younger, limits = writer.num_younger, self._thresholds
        is_much = younger > limits.younger_rows and younger > limits.younger_share * len(writer)
        return is_much or younger > limits.most_younger_rows
