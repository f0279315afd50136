"""A gallery's rows on disk: Parquet files that any reader opens without us.

In: pictures' facts and their vectors. Out: files `shards/000000.parquet` and on, or their columns as arrays. One shard
is one row group and is written the same to the byte from the same rows, which is what lets a build be resumed.

    key        int64     the picture's number in the source, counted from 0
    uri        string    its name in the source
    sha256     string    64 hex digits, over the source's bytes (an array's over its pixels): the form that sha256sum
                         prints and SQL compares without a cast
    width, height  int32  of the picture before it was resized
    label      string or null
    num_keypoints  int32, only in a gallery with keypoints
    ...        the source's own columns
    embedding  fixed-size list of float32 or float16
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.errors import GalleryError
from semblance.files import write_aside
from semblance.gallery.manifest import TableFile
from semblance.gallery.mapped import EMBEDDING, damaged

ERRORS_NAME = "errors.parquet"
VectorType = Literal["float32", "float16"]
Value = str | int | float | bool | None

_FIXED = {
    "key": pa.int64(),
    "uri": pa.string(),
    "sha256": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "label": pa.string(),
}
NUM_KEYPOINTS = "num_keypoints"
_TYPES: dict[type, str] = {str: "string", bool: "bool", int: "int64", float: "double"}
# Handed to the Parquet writer at once, which shape no byte: it makes two levels for each value on the way. Measured,
# 8,192 x 768-d: 114 MiB and .05 s, all at once 136 MiB and .35 s
_WRITTEN_ROWS = 512
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
    stage: str  # "read", "decode", "describe", "columns" or "embed"
    error: str  # the exception's class
    message: str


def shard_name(number: int) -> str:
    """The file of shard `number`, relative to its gallery."""
    return f"shards/{number:06d}.parquet"


def column_types(rows: Iterable[Mapping[str, Value]], *, has_keypoints: bool = False) -> dict[str, str]:
    """Arrow type names of the source's own columns, by name, from the values of some pictures.

    A column that holds only None is a string, integers among floats are floats. Raises GalleryError for values of
    several types, and for a name that every shard has already, or every one of a gallery with keypoints.
    """
    found: dict[str, set[str]] = {}
    for values in rows:
        for name, value in values.items():
            found.setdefault(name, set()).update([] if value is None else [_TYPES.get(type(value), repr(type(value)))])
    if clash := sorted(found.keys() & {*_FIXED, EMBEDDING}):
        raise GalleryError(f"the source's columns {clash} have names that every gallery uses itself; rename them")
    if has_keypoints and NUM_KEYPOINTS in found:
        raise GalleryError(
            f"the source's column {NUM_KEYPOINTS!r} has a name that a gallery with SIFT uses itself; rename it"
        )
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


def vector_problem(vector: NDArray[np.floating[Any]], metric: Metric) -> str:
    """Why a vector [D], in the number type that is stored, cannot be compared; empty where it can."""
    if not np.isfinite(vector).all():
        return f"its embedding is not finite as {vector.dtype}"
    if metric == "cos" and not vector.any():
        return "its embedding is zero, which has no direction to compare by cosine"
    return ""


def write_shard(
    gallery: Path,
    number: int,
    rows: Sequence[Row],
    vectors: NDArray[np.floating[Any]],
    *,
    columns: Mapping[str, str],
    vector_type: VectorType = "float32",
    num_keypoints: Sequence[int] | None = None,
) -> TableFile:
    """Write `rows` and their `vectors` [len(rows), D] as shard `number` of the gallery folder; no rows are fine.

    `num_keypoints` is each picture's, in a gallery with keypoints.
    """
    assert vectors.shape[0] == len(rows), (vectors.shape, len(rows))
    flat = pa.array(np.ascontiguousarray(vectors, dtype=vector_type).reshape(-1))
    item = pa.field("element", flat.type, nullable=False)
    arrays = {name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in _FIXED.items()}
    if num_keypoints is not None:
        arrays[NUM_KEYPOINTS] = pa.array(num_keypoints, pa.int32())
    for name, kind in columns.items():
        arrays[name] = pa.array([row.columns.get(name) for row in rows], kind)
    arrays[EMBEDDING] = pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(item, vectors.shape[1]))
    fields = [
        pa.field(name, array.type, nullable=name == "label" or name in columns)  # null-free ones read faster
        for name, array in arrays.items()
    ]
    table = pa.Table.from_arrays(list(arrays.values()), schema=pa.schema(fields))
    return write_rows(gallery, number, table)


def write_rows(gallery: Path, number: int, table: pa.Table) -> TableFile:
    """Write a table that was read from shards, or parts of it, as shard `number` of the gallery folder."""
    return write_table(gallery, shard_name(number), table)


def write_errors(gallery: Path, errors: Sequence[ErrorRow], *, before: pa.Table | None = None) -> TableFile:
    """Write errors.parquet of the gallery folder, also where there are none: the rows of `before`, then `errors`."""
    table = pa.Table.from_pylist([asdict(error) for error in errors], schema=_ERRORS)
    return write_table(
        gallery, ERRORS_NAME, table if before is None else pa.concat_tables([before, table]).combine_chunks()
    )


def committed_errors(gallery: Path, errors: TableFile) -> pa.Table:
    """The rows of errors.parquet that the manifest speaks of, as `errors`.

    The file only grows, and before the manifest does: a kill in between leaves rows that do not count yet, which are
    taken off again. Raises GalleryError where the file is missing or is not what was written.
    """
    path = gallery / errors.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise damaged(path, error) from error
    found = _read(path, pa.BufferReader(content), _ERRORS.names)
    if hashlib.sha256(content).hexdigest() == errors.sha256:
        return found
    if found.num_rows <= errors.num_rows:
        raise damaged(path, "its sha256 is not the manifest's")
    committed = found.slice(0, errors.num_rows).combine_chunks()
    sink = pa.BufferOutputStream()
    _write(committed, sink)
    if hashlib.sha256(sink.getvalue()).hexdigest() != errors.sha256:
        raise damaged(path, "its first rows are not those that were committed")
    return committed


def read_columns(path: Path, names: Sequence[str]) -> pa.Table:
    """Some columns of a Parquet file, page checksums verified. Raises GalleryError where it is missing or damaged."""
    return _read(path, path, names)


def _read(path: Path, source: Any, names: Sequence[str]) -> pa.Table:
    try:
        with pq.ParquetFile(source, memory_map=False, page_checksum_verification=True) as file:
            table = file.read(columns=list(names), use_threads=False)
    except (OSError, ValueError, pa.ArrowException) as error:  # a name that is no text any more is a ValueError
        raise damaged(path, error) from error
    if missing := sorted(set(names) - set(table.column_names)):
        raise damaged(path, f"it has no columns {missing}")
    return table


def write_table(gallery: Path, name: str, table: pa.Table, *, plain: Collection[str] = (EMBEDDING,)) -> TableFile:
    """Write `table` to the file `name` of the gallery folder, durably; its columns `plain` as one page of values."""
    written = write_aside(gallery / name, lambda path: _write(table, path, plain))
    return TableFile(name, table.num_rows, written.num_bytes, written.sha256)


def _write(table: pa.Table, to: Any, plain: Collection[str] = (EMBEDDING,)) -> None:
    """One row group; every setting that shapes the bytes is stated, so that no later default changes a resumed one."""
    pq.write_table(
        pa.Table.from_batches(table.to_batches(_WRITTEN_ROWS), table.schema),
        to,
        row_group_size=max(1, table.num_rows),
        version="2.6",
        data_page_version="1.0",
        compression={column: "NONE" if column in plain else "ZSTD" for column in table.column_names},
        compression_level={column: 3 for column in table.column_names if column not in plain},
        use_dictionary=["label"] if "label" in table.column_names else False,
        write_statistics=[column for column in table.column_names if column not in plain],
        write_page_checksum=True,
        # A column in one page: whoever knows where it ends can fetch any plain value without a Parquet reader
        data_page_size=2**31 - 1,
        max_rows_per_page=2**31 - 1,
        store_schema=True,
    )
