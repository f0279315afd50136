"""A gallery's rows on disk: Parquet files that any reader opens without us.

In: pictures' facts and their vectors. Out: files `shards/000000.parquet` and on, or their columns as arrays. One shard
is one row group and is written the same to the byte from the same rows, which is what lets a build be resumed.

    key        int64     the picture's number in the source, counted from 0
    uri        string    its name in the source
    sha256     string    64 hex digits, over the source's bytes (an array's over its pixels): the form that sha256sum
                         prints and SQL compares without a cast
    width, height  int32  of the picture before it was resized
    label      string or null
    ...        the source's own columns
    embedding  fixed-size list of float32 or float16
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semblance.errors import GalleryError
from semblance.files import write_aside
from semblance.gallery.manifest import TableFile

ERRORS_NAME = "errors.parquet"
VectorType = Literal["float32", "float16"]
Value = str | int | float | bool | None

_EMBEDDING = "embedding"
_FIXED = {
    "key": pa.int64(),
    "uri": pa.string(),
    "sha256": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "label": pa.string(),
}
_TYPES: dict[type, str] = {str: "string", bool: "bool", int: "int64", float: "double"}
_LARGEST_WHOLE = 2**53  # Arrow refuses larger integers in a column of doubles
_ERRORS = pa.schema(
    {"key": pa.int64(), "uri": pa.string(), "stage": pa.string(), "error": pa.string(), "message": pa.string()}
)


@dataclass(frozen=True, slots=True)
class Row:
    """What a shard holds of one picture beside its vector."""

    key: int
    uri: str
    sha256: str
    width: int
    height: int
    label: str | None = None
    columns: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One picture that could not be used."""

    key: int
    uri: str
    stage: str  # "read", "decode", "columns" or "embed"
    error: str  # the exception's class
    message: str


def shard_name(number: int) -> str:
    """The file of shard `number`, relative to its gallery."""
    return f"shards/{number:06d}.parquet"


def column_types(rows: Iterable[Mapping[str, Value]]) -> dict[str, str]:
    """Arrow type names of the source's own columns, by name, from the values of some pictures.

    A column that holds only None is a string, integers among floats are floats. Raises GalleryError for values of
    several types, and for a name that every shard has already.
    """
    found: dict[str, set[str]] = {}
    for values in rows:
        for name, value in values.items():
            found.setdefault(name, set()).update([] if value is None else [_TYPES.get(type(value), repr(type(value)))])
    if clash := sorted(found.keys() & {*_FIXED, _EMBEDDING}):
        raise GalleryError(f"the source's columns {clash} have names that every gallery uses itself; rename them")
    for name, types in found.items():
        if types == {"int64", "double"}:
            found[name] = {"double"}
        elif len(types) > 1 or not types <= {*_TYPES.values()}:
            raise GalleryError(f"column {name!r} holds {sorted(types)}; give it one of {sorted(_TYPES.values())}")
    return {name: next(iter(found[name]), "string") for name in sorted(found)}


def misfit(values: Mapping[str, Value], types: Mapping[str, str]) -> str:
    """Why a picture's own columns do not fit a gallery's; empty where they do."""
    for name, value in values.items():
        if name not in types:
            return f"column {name!r} is not among the gallery's, {sorted(types)}, which its first shard decided"
        given = _TYPES.get(type(value))
        if value is not None and given != types[name] and (given, types[name]) != ("int64", "double"):
            return f"column {name!r} is {value!r}; the gallery's is {types[name]}, as its first shard decided"
        if isinstance(value, int) and types[name] == "double" and abs(value) > _LARGEST_WHOLE:
            return f"column {name!r} is {value!r}; the gallery's is double, which ends being exact at 2**53"
    return ""


def write_shard(
    gallery: Path,
    number: int,
    rows: Sequence[Row],
    vectors: NDArray[np.floating[Any]],
    *,
    columns: Mapping[str, str],
    vector_type: VectorType = "float32",
) -> TableFile:
    """Write `rows` and their `vectors` [len(rows), D] as shard `number` of the gallery folder; no rows are fine."""
    assert vectors.shape[0] == len(rows), (vectors.shape, len(rows))
    flat = pa.array(np.ascontiguousarray(vectors, dtype=vector_type).reshape(-1))
    item = pa.field("element", flat.type, nullable=False)
    arrays = {name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in _FIXED.items()}
    for name, kind in columns.items():
        arrays[name] = pa.array([row.columns.get(name) for row in rows], kind)
    arrays[_EMBEDDING] = pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(item, vectors.shape[1]))
    fields = [
        pa.field(name, array.type, nullable=name == "label" or name in columns)  # null-free ones read faster
        for name, array in arrays.items()
    ]
    table = pa.Table.from_arrays(list(arrays.values()), schema=pa.schema(fields))
    return _write(gallery, shard_name(number), table)


def write_errors(gallery: Path, errors: Sequence[ErrorRow]) -> TableFile:
    """Write errors.parquet of the gallery folder, also where there are none."""
    return _write(gallery, ERRORS_NAME, pa.Table.from_pylist([asdict(error) for error in errors], schema=_ERRORS))


def read_columns(path: Path, names: Sequence[str]) -> pa.Table:
    """Some columns of a Parquet file, checksums verified. Raises GalleryError where it is missing or damaged."""
    try:
        return pq.read_table(path, columns=list(names), memory_map=True, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def read_vectors(path: Path) -> NDArray[np.float32]:
    """The embeddings of a shard, [n, D] float32, in the memory Arrow read them into; float16 ones are widened."""
    column = read_columns(path, [_EMBEDDING]).column(_EMBEDDING)
    if not pa.types.is_fixed_size_list(column.type):
        raise _damaged(path, f"its embeddings are {column.type}")
    parts = [chunk.flatten().to_numpy(zero_copy_only=True) for chunk in column.chunks]
    flat = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.float32), *parts])
    return flat.reshape(-1, column.type.list_size).astype(np.float32, copy=False)


def count_rows(path: Path) -> int:
    """Rows of a Parquet file by its footer. Raises GalleryError where it is missing or damaged."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _write(gallery: Path, name: str, table: pa.Table) -> TableFile:
    """One row group; every setting that shapes the bytes is stated, so that no later default changes a resumed one."""

    def write(path: Path) -> None:
        pq.write_table(
            table,
            path,
            row_group_size=max(1, table.num_rows),
            version="2.6",
            data_page_version="1.0",
            compression={column: "NONE" if column == _EMBEDDING else "ZSTD" for column in table.column_names},
            compression_level={column: 3 for column in table.column_names if column != _EMBEDDING},
            use_dictionary=["label"] if "label" in table.column_names else False,
            write_statistics=[column for column in table.column_names if column != _EMBEDDING],
            write_page_checksum=True,
            store_schema=True,
        )

    written = write_aside(gallery / name, write)
    return TableFile(name, table.num_rows, written.num_bytes, written.sha256)


def _damaged(path: Path, why: object) -> GalleryError:
    state = "is missing" if not path.exists() else f"is damaged ({why})"
    return GalleryError(f"{path} {state}; restore it from a copy, or embed again")
