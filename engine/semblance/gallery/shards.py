"""A gallery's rows on disk: Parquet files that any reader opens without us.

In: rows as arrays. Out: `shards/000000.parquet` and so on, with key, uri, sha256, width, height, label, the user's own
columns and the embedding as a fixed-size list; and `errors.parquet`, a row for each picture that could not be used. The
same rows give the same bytes: nothing in a file tells when or where it was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semblance.errors import GalleryError
from semblance.files import write_whole
from semblance.inputs.sources import Column

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of a gallery; all members have n entries."""

    keys: NDArray[np.int64]  # [n]
    uris: Sequence[str]
    sha256: Sequence[str]  # of the source bytes (of an array: of its pixels), hex
    widths: Sequence[int]  # of the picture before it was resized, pixels
    heights: Sequence[int]
    labels: Sequence[str | None]
    columns: Mapping[str, Sequence[Column]]
    embeddings: NDArray[np.float32]  # [n, D]


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One picture that could not be used."""

    uri: str
    stage: str  # "decode": it was read but is no usable picture
    error: str  # the exception's class
    message: str


def write_shard(path: Path, rows: Rows) -> None:
    """Write rows as one Parquet file, whole or not at all."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(rows.embeddings, np.float32).reshape(-1))
    embeddings = pa.FixedSizeListArray.from_arrays(flat, rows.embeddings.shape[1])
    columns: dict[str, Any] = {
        "key": pa.array(rows.keys, pa.int64()),
        "uri": pa.array(rows.uris, pa.string()),
        "sha256": pa.array(rows.sha256, pa.string()),
        "width": pa.array(rows.widths, pa.int32()),
        "height": pa.array(rows.heights, pa.int32()),
        "label": pa.array(rows.labels, pa.string()),
        **{name: pa.array(values) for name, values in rows.columns.items()},
        "embedding": embeddings,
    }
    _write(path, pa.table(columns))


def write_errors(path: Path, errors: Sequence[ErrorRow]) -> None:
    """Write the errors as one Parquet file, also where there are none."""
    import pyarrow as pa

    names = [field.name for field in fields(ErrorRow)]
    _write(path, pa.table({name: pa.array([getattr(row, name) for row in errors], pa.string()) for name in names}))


def count_rows(path: Path) -> int:
    """How many rows a Parquet file says it has, from its footer. Raises GalleryError where it is missing or damaged."""
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def read_embeddings(path: Path, dimension: int) -> NDArray[np.float32]:
    """The embeddings of one shard, [n, D] float32. Raises GalleryError where it is missing or damaged."""
    column = _read(path, ["embedding"]).column("embedding").combine_chunks()
    vectors = np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float32)
    if vectors.size != len(column) * dimension:
        raise GalleryError(f"{path}: its embeddings are not {dimension}-d; build the gallery again")
    return vectors.reshape(len(column), dimension)


def read_column(path: Path, name: str) -> list[Any]:
    """One column of one shard. Raises GalleryError where it is missing or damaged."""
    values: list[Any] = _read(path, [name]).column(name).to_pylist()
    return values


def _read(path: Path, columns: list[str]) -> pa.Table:
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=columns)
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error


def _write(path: Path, table: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    strings = [name for name in table.column_names if name not in ("key", "sha256", "embedding")]
    # Embeddings do not compress, and every sha256 is new: a dictionary of them would only be a copy
    pq.write_table(table, buffer, compression="zstd", compression_level=1, use_dictionary=strings)
    write_whole(path, buffer.getvalue())


def _damaged(path: Path, error: Exception) -> GalleryError:
    what = "is missing" if not path.exists() else f"is damaged ({str(error).splitlines()[0]})"
    return GalleryError(f"{path} {what}; restore it from a copy, or build the gallery again")
