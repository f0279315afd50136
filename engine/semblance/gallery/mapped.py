"""A gallery's Parquet file as it lies on the disk: mapped, checked once, and columns of it read without decoding.

In: a file and what the manifest says of it. Out: its columns as Arrow tables, its embeddings as arrays. The file is
mapped when it is opened, so that it can be read to the end by whoever holds it, also after a newer generation has
removed its name; it is compared with its checksum at the first reading. Embeddings, and a keypoint's numbers, lie in
one uncompressed page to a column, so any of them can be fetched by its position: a gallery's vectors need not fit into
memory.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semblance.errors import GalleryError
from semblance.gallery.manifest import TableFile

EMBEDDING = "embedding"

_HASHED_AT_ONCE = 1 << 23
_TYPES: dict[str, np.dtype[Any]] = {"FLOAT": np.dtype("<f4"), "FIXED_LEN_BYTE_ARRAY": np.dtype("<f2")}


_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class MappedTable:
    """One Parquet file of a gallery, open for as long as this object lives."""

    def __init__(self, path: Path, table: TableFile) -> None:
        """Map `path`. Raises GalleryError where it is missing or has not the size that `table` says."""
        self.path = path
        self.table = table
        self._is_checked = False
        self._kept: dict[str, pa.Array] = {}
        self._vectors: _Vectors | None = None
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno()).st_size
                if found != table.num_bytes or not found:
                    raise damaged(path, f"it has {found} bytes, the manifest says {table.num_bytes}")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            if error.errno in _SCARCE:  # nothing is wrong with the file
                raise GalleryError(
                    f"{path} cannot be opened ({error.strerror}); a gallery needs an open file for each of its files: "
                    "raise the limit, as by `ulimit -n 65536`, or have fewer shards (`--shard-rows`)"
                ) from error
            raise damaged(path, error) from error

    def __len__(self) -> int:
        return self.table.num_rows

    def check(self) -> None:
        """Compare the whole file with its checksum, at the first call. Raises GalleryError."""
        if self._is_checked:
            return
        digest = hashlib.sha256()
        for start in range(0, len(self._map), _HASHED_AT_ONCE):
            digest.update(memoryview(self._map)[start : start + _HASHED_AT_ONCE])
            self.release()
        if (found := digest.hexdigest()) != self.table.sha256:
            raise damaged(self.path, f"its sha256 begins {found[:12]}, the manifest says {self.table.sha256[:12]}")
        if (num_rows := self._parquet().metadata.num_rows) != len(self):
            raise damaged(self.path, f"it has {num_rows} rows, the manifest says {len(self)}")
        self._is_checked = True

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Some of its columns. Raises GalleryError where the file is damaged or has no such column."""
        self.check()
        try:
            table = self._parquet().read(columns=list(names), use_threads=False)
        except (OSError, KeyError, pa.ArrowException) as error:
            raise damaged(self.path, error) from error
        if missing := sorted(set(names) - set(table.column_names)):  # which Arrow passes over
            raise damaged(self.path, f"it has no columns {missing}")
        return table

    def kept(self, names: Sequence[str]) -> dict[str, pa.Array]:
        """Some columns, each in one piece that stays in memory from its first reading on. Raises GalleryError.

        For single rows that are asked for again and again: reading one means to decode all.
        """
        if missing := [name for name in names if name not in self._kept]:
            table = self.columns(missing).combine_chunks()
            self._kept.update({name: _one_piece(table.column(name)) for name in missing})
        return {name: self._kept[name] for name in names}

    def file(self) -> pa.NativeFile:
        """What lies on the disk, for other Parquet readers, also where its name is gone. Raises GalleryError."""
        self.check()
        return pa.BufferReader(pa.py_buffer(self._map))

    @property
    def names(self) -> list[str]:
        """The names of its columns. Raises GalleryError where the file is damaged."""
        self.check()
        return list(self._parquet().schema_arrow.names)

    @property
    def dimension(self) -> int:
        """D of its embeddings. Raises GalleryError as `columns`."""
        return self._checked_vectors().dimension

    def block(self, start: int, stop: int) -> NDArray[np.floating[Any]]:
        """Embeddings `start` to `stop` - 1, [n, D] in the number type that is stored, in memory of their own."""
        vectors = self._checked_vectors()
        found = vectors.bytes[start:stop].copy().view(vectors.dtype)  # the page does not begin at a multiple of four
        self.release()
        return found

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """The embeddings of `rows` [n], counted from 0 in this file: [n, D] in the number type that is stored."""
        vectors = self._checked_vectors()
        return np.take(vectors.bytes, rows, axis=0).view(vectors.dtype)

    def values(self, name: str, row_bytes: int) -> NDArray[np.uint8]:
        """A column of `row_bytes` a row, without nulls, as the bytes lie on the disk: [N, row_bytes], mapped.

        They begin at any address: numbers among them are to be viewed as such, not to be pointed at. Raises
        GalleryError where the file is damaged, or the column does not lie in one uncompressed page.
        """
        self.check()
        return _values(self.path, self._map, self._parquet(), name, row_bytes)

    def release(self) -> None:
        """What was read in passing need not stay in this process's memory; it may in the system's."""
        if hasattr(self._map, "madvise"):  # not on Windows
            self._map.madvise(mmap.MADV_DONTNEED)

    def _checked_vectors(self) -> _Vectors:
        if self._vectors is None:
            self.check()
            self._vectors = _Vectors(self.path, self._map, self._parquet())
        return self._vectors

    def _parquet(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(pa.BufferReader(pa.py_buffer(self._map)))
        except (OSError, pa.ArrowException) as error:
            raise damaged(self.path, error) from error


def _one_piece(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([pa.array([], column.type), *column.chunks])


def _values(path: Path, mapped: mmap.mmap, parquet: pq.ParquetFile, name: str, row_bytes: int) -> NDArray[np.uint8]:
    """Where a column's values lie, [N, row_bytes]: those of one page are its last thing, one after the other."""
    metadata, num_rows, start = parquet.metadata, parquet.metadata.num_rows, 0
    if num_rows:
        at = parquet.schema_arrow.get_field_index(name)  # of the leaf too: only a last column of ours is nested
        column = metadata.row_group(0).column(max(0, at))
        if at < 0 or metadata.num_row_groups > 1 or column.path_in_schema.partition(".")[0] != name:
            raise damaged(path, f"it has no column {name!r} in one row group")
        if column.compression != "UNCOMPRESSED" or column.has_dictionary_page:
            raise damaged(path, f"its column {name!r} is not uncompressed")
        start = column.data_page_offset + column.total_compressed_size - num_rows * row_bytes
        if start <= column.data_page_offset:
            raise damaged(path, f"its column {name!r} is no {row_bytes} bytes wide")
    found = np.frombuffer(mapped, np.uint8, count=num_rows * row_bytes, offset=start)
    return found.reshape(num_rows, row_bytes)


class _Vectors:
    """Where the embeddings lie."""

    def __init__(self, path: Path, mapped: mmap.mmap, parquet: pq.ParquetFile) -> None:
        schema, metadata = parquet.schema_arrow, parquet.metadata
        kind = schema.field(EMBEDDING).type if EMBEDDING in schema.names else None
        if kind is None or not pa.types.is_fixed_size_list(kind) or metadata.num_row_groups > 1:
            raise damaged(path, f"its embeddings are {kind} in {metadata.num_row_groups} row groups")
        self.dimension = int(kind.list_size)
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        if metadata.num_rows:
            last = metadata.row_group(0).column(metadata.num_columns - 1)
            if last.path_in_schema.partition(".")[0] != EMBEDDING or last.compression != "UNCOMPRESSED":
                raise damaged(path, "its embeddings are not its last column, uncompressed")
            self.dtype = _TYPES[last.physical_type]
        self.bytes = _values(path, mapped, parquet, EMBEDDING, self.dimension * self.dtype.itemsize)


def damaged(path: Path, why: object) -> GalleryError:
    """What to say of a gallery's file, or one in a folder of it, that is not as it was written."""
    gallery = path.parents[1] if path.parent.name in ("shards", "sift", "index") else path.parent
    state = f"is damaged ({why})" if path.exists() else "is missing"
    return GalleryError(f"{path} {state}; `semblance verify {gallery}` says what is left and what to do")
