"""All rows of a gallery, counted on through its shards: blocks of vectors to stream, single ones to fetch, columns.

In: the shards of a manifest. Out: arrays. Row r is the r-th of all rows, removed ones too, so a row's number never
changes while a gallery only grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from semblance.errors import InputError
from semblance.gallery.manifest import LARGEST_KEY, Manifest, TableFile
from semblance.gallery.mapped import MappedTable, damaged

_BLOCK_BYTES = 1 << 24
_FEW = 16  # values: taking them one by one is as fast as by Arrow's own function


class Rows:
    """The rows of a gallery's shards."""

    def __init__(self, tables: Sequence[MappedTable], dimension: int) -> None:
        """Join the shards, in order, whose embeddings have `dimension` D."""
        self.tables = tuple(tables)
        self.dimension = dimension
        self.starts = np.cumsum([0, *map(len, tables)], dtype=np.int64)  # [S + 1]

    @classmethod
    def open(cls, gallery: Path, manifest: Manifest, opened: Sequence[MappedTable] = ()) -> Rows:
        """Map every shard that `manifest` names, but for those `opened` already. Raises GalleryError."""
        return cls(open_tables(gallery, manifest.shards, opened), manifest.card.dimension)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def blocks(self, start: int = 0) -> Blocks:
        """The vectors of the rows from `start` on, in pieces that fit into memory."""
        return Blocks(self, start)

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """The vectors of `rows` [n], in that order: [n, D] in the number type that is stored."""
        if len(self.tables) == 1:
            return self._checked(self.tables[0]).take(rows)
        shard_of = np.searchsorted(self.starts, rows, side="right") - 1  # [n]
        found: NDArray[np.floating[Any]] | None = None
        for shard in np.unique(shard_of):
            is_here = shard_of == shard
            part = self._checked(self.tables[shard]).take(rows[is_here] - self.starts[shard])
            if found is None:
                found = np.empty((len(rows), self.dimension), part.dtype)
            found[is_here] = part
        return np.empty((0, self.dimension), np.float32) if found is None else found

    def values(self, rows: NDArray[np.int64], names: Sequence[str]) -> dict[str, list[Any]]:
        """What some columns say of `rows` [n], in that order: n Python values for each name.

        Only shards that the rows lie in are read, and what was read of them stays in memory. Raises GalleryError.
        """
        found: dict[str, list[Any]] = {name: [None] * len(rows) for name in names}
        shard_of = np.searchsorted(self.starts, rows, side="right") - 1  # [n]
        for shard in np.unique(shard_of).tolist():
            at = np.flatnonzero(shard_of == shard)
            here = rows[at] - self.starts[shard]
            for name, column in self.tables[shard].kept(names).items():
                values, places = _picked(column, here), found[name]
                for place, value in zip(at.tolist(), values, strict=True):
                    places[place] = value
        return found

    def keys(self, start: int = 0) -> NDArray[np.int64]:
        """The keys [n] of the rows of the shards from number `start` on."""
        if start >= len(self.tables):
            return np.empty(0, np.int64)
        keys: NDArray[np.int64] = self.columns(["key"], start).column("key").to_numpy()
        return keys

    def num_shared(self, other: Rows) -> tuple[int, int]:
        """How many shards are the first of both, and how many rows those have: in these a row's number is the same."""
        pairs = zip(self.tables, other.tables, strict=False)
        shared = next((at for at, (a, b) in enumerate(pairs) if a is not b), min(len(self.tables), len(other.tables)))
        return shared, int(self.starts[shared])

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of all rows."""
        return self.columns([name]).column(name)

    def columns(self, names: Sequence[str], start: int = 0) -> pa.Table:
        """Some columns, of the shards from number `start` on; at least one shard."""
        return pa.concat_tables([table.columns(names) for table in self.tables[start:]])

    def _checked(self, table: MappedTable) -> MappedTable:
        if table.dimension != self.dimension:
            raise damaged(table.path, f"its embeddings have {table.dimension} dimensions, the model {self.dimension}")
        return table


def open_tables(
    gallery: Path, files: Sequence[TableFile], opened: Sequence[MappedTable] = ()
) -> tuple[MappedTable, ...]:
    """Map `files` of the folder `gallery`, but for those `opened` already, which stay what they are.

    Raises GalleryError where one is missing or has another size.
    """
    have = {table.table: table for table in opened}
    return tuple(have[file] if file in have else MappedTable(gallery / file.file, file) for file in files)


def _picked(column: pa.Array, rows: NDArray[np.int64]) -> list[Any]:
    if len(rows) > _FEW:
        return list(column.take(pa.array(rows)).to_pylist())
    return [column[row].as_py() for row in rows.tolist()]


def as_keys(keys: ArrayLike) -> NDArray[np.int64]:
    """Keys as int64, of the shape they have. Raises InputError for what is no integer of 64 bits.

    numpy would cut 2.5 to 2 and wrap 2**64 - 1 to -1, which may be other pictures' keys.
    """
    given = np.asarray(keys)
    if given.size == 0:
        return given.astype(np.int64)
    if given.dtype.kind not in "iu" or (given.dtype.kind == "u" and given.max() > LARGEST_KEY):
        raise InputError(f"keys must be integers of 64 bits, are {given.dtype}: {given.flat[0]!r} and so on")
    return given.astype(np.int64)


class Blocks(Sequence[NDArray[np.floating[Any]]]):
    """Vectors as a sequence of arrays [n, D], each read when it is asked for, into memory of its own."""

    def __init__(self, rows: Rows, start: int = 0) -> None:
        """All from row `start` on."""
        self._rows = rows
        at_once = max(1, _BLOCK_BYTES // (4 * rows.dimension))
        self._pieces = [
            (number, first, min(first + at_once, len(table)))
            for number, table in enumerate(rows.tables)
            for first in range(max(0, start - int(rows.starts[number])), len(table), at_once)
        ]

    def __len__(self) -> int:
        return len(self._pieces)

    @overload
    def __getitem__(self, number: int) -> NDArray[np.floating[Any]]: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[NDArray[np.floating[Any]]]: ...
    def __getitem__(self, number: int | slice) -> NDArray[np.floating[Any]] | Sequence[NDArray[np.floating[Any]]]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        shard, first, last = self._pieces[number]
        return self._rows._checked(self._rows.tables[shard]).block(first, last)

    def __iter__(self) -> Iterator[NDArray[np.floating[Any]]]:
        return (self[number] for number in range(len(self)))
