"""The keypoints that a gallery holds, fetched by the rows of its pictures without decoding any file.

In: rows of a gallery with SIFT, counted on through its shards. Out: their descriptors, points, or all of a picture's
keypoints. The files are mapped when the gallery is opened, so that a writer may take their names away meanwhile, and
each is compared with its checksum at the first reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance.gallery.keypoints import DESCRIPTOR, DESCRIPTOR_BYTES, FLOATS
from semblance.gallery.manifest import Manifest
from semblance.gallery.mapped import MappedTable, damaged
from semblance.gallery.rows import Rows, open_tables
from semblance.gallery.shards import NUM_KEYPOINTS

_PIECE_ROWS = 64


@dataclass(frozen=True, slots=True)
class PictureKeypoints:
    """The K keypoints of a picture, or of several one after the other, in memory of their own."""

    points: NDArray[np.float32]  # [K, 2] x and y in pixels of the whole picture
    sizes: NDArray[np.float32]  # [K]
    angles: NDArray[np.float32]  # [K]
    responses: NDArray[np.float32]  # [K]
    descriptors: NDArray[np.uint8]  # [K, 128]

    def __len__(self) -> int:
        """K."""
        return len(self.points)


class StoredKeypoints:
    """The keypoints of all rows of a gallery, removed ones too; use `open`."""

    def __init__(self, rows: Rows, tables: Sequence[MappedTable]) -> None:
        """Join the rows of the shards and the files of their keypoints, in the same order."""
        assert len(rows.tables) == len(tables), (len(rows.tables), len(tables))
        self.tables = tuple(tables)
        self._rows = rows
        self._files: list[_File | None] = [None] * len(tables)

    @classmethod
    def open(
        cls, path: Path, manifest: Manifest, rows: Rows | None = None, opened: StoredKeypoints | None = None
    ) -> StoredKeypoints:
        """Map the keypoints of the gallery at `path`, of whose `manifest` the `rows` may be open already.

        What is `opened` of an older state is carried on where it is the same. Raises GalleryError where a file is
        missing or has another size.
        """
        rows = Rows.open(path, manifest) if rows is None else rows
        found = cls(rows, open_tables(path, manifest.sift, () if opened is None else opened.tables))
        if opened is not None:
            read = dict(zip(opened.tables, opened._files, strict=True))
            found._files = [read.get(table) for table in found.tables]
        return found

    def take(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Descriptors of the pictures in `rows` [n], one after the other: [sum K, 128], and where each begins: [n + 1].

        Raises GalleryError where a file that they are in is damaged, as the other methods do.
        """
        places, offsets = self._places(rows)
        descriptors = np.empty((int(offsets[-1]), DESCRIPTOR_BYTES), np.uint8)
        _fill(descriptors, places, offsets, lambda file: file.descriptors)
        return descriptors, offsets

    def points(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Points of the pictures in `rows` [n], in the order of `take`: [sum K, 2] x and y in pixels."""
        places, offsets = self._places(rows)
        return np.stack([_floats(number, places, offsets) for number in range(2)], axis=1)

    def keypoints(self, rows: NDArray[np.int64]) -> PictureKeypoints:
        """All that is stored of the keypoints of the pictures in `rows` [n], in the order of `take`."""
        places, offsets = self._places(rows)
        sizes, angles, responses = (_floats(number, places, offsets) for number in range(2, 5))
        return PictureKeypoints(self.points(rows), sizes, angles, responses, self.take(rows)[0])

    def pieces(self, rows: NDArray[np.int64]) -> Iterator[PictureKeypoints]:
        """`keypoints` of many rows, some rows at a time; what was read for them does not stay in memory."""
        for start in range(0, len(rows), _PIECE_ROWS):
            here = rows[start : start + _PIECE_ROWS]
            yield self.keypoints(here)
            for shard in np.unique(self._shards(here)):
                self.tables[shard].release()

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many keypoints each picture in `rows` [n] has: [n]."""
        return np.diff(self._places(rows)[1])

    def _places(self, rows: NDArray[np.int64]) -> tuple[list[_Place], NDArray[np.int64]]:
        """Where the keypoints of each row lie, and where they begin when they stand one after the other: [n + 1]."""
        shards, places = self._shards(rows), []
        for shard, row in zip(shards.tolist(), (rows - self._rows.starts[shards]).tolist(), strict=True):
            file = self._files[shard] or self._opened(shard)
            places.append((file, file.offsets[row], file.offsets[row + 1]))
        return places, np.cumsum([0, *(stop - start for _, start, stop in places)], dtype=np.int64)

    def _shards(self, rows: NDArray[np.int64]) -> NDArray[np.intp]:
        return np.searchsorted(self._rows.starts, rows, side="right") - 1

    def _opened(self, shard: int) -> _File:
        table = self._rows.tables[shard].columns(["key", NUM_KEYPOINTS])
        file = _File(self.tables[shard], table.column(NUM_KEYPOINTS).to_numpy(), table.column("key").to_numpy())
        self._files[shard] = file  # by two threads at once: the same twice
        return file


class _File:
    """One file, checked, and where each picture's keypoints lie in it."""

    def __init__(self, table: MappedTable, counts: NDArray[np.int32], keys: NDArray[np.int64]) -> None:
        self.descriptors = table.values(DESCRIPTOR, DESCRIPTOR_BYTES)  # [K, 128]
        self.floats = [table.values(name, 4).view("<f4") for name in FLOATS]  # [K, 1] each
        self.offsets: list[int] = np.cumsum([0, *counts], dtype=np.int64).tolist()  # [rows + 1]; a list is faster here
        if self.offsets[-1] != len(table):
            raise damaged(table.path, f"it has {len(table)} keypoints, its shard says {self.offsets[-1]}")
        if not np.array_equal(table.columns(["key"]).column("key").to_numpy(), np.repeat(keys, counts)):
            raise damaged(table.path, "its keypoints are of other pictures than its shard's")


_Place = tuple[_File, int, int]  # from one keypoint of a file to before another


def _floats(number: int, places: Sequence[_Place], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
    """One of the columns of floats, [sum K]."""
    found = np.empty((int(offsets[-1]), 1), np.float32)
    _fill(found, places, offsets, lambda file: file.floats[number])
    return found[:, 0]


def _fill(
    found: NDArray[np.generic],
    places: Sequence[_Place],
    offsets: NDArray[np.int64],
    column: Callable[[_File], NDArray[np.generic]],
) -> None:
    """Copy the places of a column to `found`: by slices, which for hundreds of rows each is faster than by row."""
    for (file, start, stop), at in zip(places, offsets[:-1].tolist(), strict=True):
        found[at : at + stop - start] = column(file)[start:stop]
