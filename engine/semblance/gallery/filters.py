"""Which rows of a gallery a condition lets pass: `label = 'chair' AND width > 300`, in SQL, over the shards' columns.

In: Parquet files and a condition. Out: bool, one per row. DuckDB decides what the condition means; it may come from
anybody, so DuckDB is given nothing to harm: it may open no file and load no extension, the condition is checked before
it runs (conditions.py), memory and time are bounded. The columns that the condition names, and no others, are read by
Arrow, a piece at a time, each row with its number: DuckDB's order of scanning, and what files and columns are called,
do not matter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semblance.errors import GalleryError, InputError
from semblance.gallery.conditions import (
    EXAMPLE,
    MAX_DEPTH,
    columns_of,
    first_line,
    folded,
    offer,
    parse,
    quoted,
    shortened,
)
from semblance.gallery.mapped import damaged

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TIME_LIMIT_SEC = 60.0

_BATCH_ROWS = 1 << 14  # at 2,048 floats a row 128 MB, should a condition name the embedding
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "python_enable_replacements": "false",  # or a condition could name the variables of this process
    "temp_directory": "",
    "memory_limit": "1GB",
    "threads": "1",  # many may ask at once
    "max_expression_depth": str(MAX_DEPTH),
    "lock_configuration": "true",
}


def matching(paths: Sequence[Path], where: str, *, time_limit_sec: float = TIME_LIMIT_SEC) -> NDArray[np.bool_]:
    """Whether the condition `where` holds for each row of the Parquet files `paths`, counted on through them: [N] bool.

    A condition that is NULL for a row does not hold there. Raises InputError for a condition that is no single boolean
    expression over the files' columns, that fails for some row (a text that is no number), or that takes longer than
    `time_limit_sec`; GalleryError where a file is missing, damaged, or lacks a column of the first.

    A condition is, for example, "label IN ('chair', 'ant') AND width > 300".
    """
    import duckdb

    counts = [_opened(path, pq.read_metadata).num_rows for path in paths]
    found = np.zeros(sum(counts), np.bool_)
    with closing(duckdb.connect(":memory:", config=_SETTINGS)) as connection:
        tree = parse(connection, where)
        if not counts:
            return found
        schema = _opened(paths[0], pq.read_schema)
        names = columns_of(tree, schema.names)
        stream = _Stream(paths, counts, [pa.field(name, _readable(schema.field(name).type)) for name in names])
        timer = threading.Timer(time_limit_sec, connection.interrupt)
        timer.start()
        try:
            _check_boolean(connection, where, stream.schema)
            connection.register("stream", stream.reader())
            query = f"SELECT {quoted(stream.ordinal)} FROM stream WHERE (\n{where}\n)"
            rows = connection.execute(query).fetchnumpy()[stream.ordinal]
        except duckdb.InterruptException as error:
            raise InputError(
                f"where took longer than {time_limit_sec:g} s over {len(found):,} rows; ask something simpler"
            ) from error
        except duckdb.Error as error:
            if stream.failure is not None:
                raise stream.failure from error
            raise InputError(f"where cannot be answered: {first_line(error)}; {offer(schema.names)}") from error
        finally:
            timer.cancel()
    found[np.asarray(rows, np.int64)] = True
    return found


def _check_boolean(connection: DuckDBPyConnection, where: str, schema: pa.Schema) -> None:
    """Have DuckDB check the types before any row is read. Raises InputError where the condition is not boolean."""
    connection.register("nothing", schema.empty_table())
    kind = connection.execute(f"DESCRIBE SELECT (\n{where}\n) FROM nothing").fetchall()[0][1]
    if kind != "BOOLEAN":
        raise InputError(f"where must be true or false for a row, {shortened(where)} is {kind}; e.g. {EXAMPLE}")


# ------------------------------------------------------------------------------------------------------------------


class _Stream:
    """Some columns of some files, with the number of each row, read as they are asked for."""

    def __init__(self, paths: Sequence[Path], counts: Sequence[int], fields: Sequence[pa.Field]) -> None:
        self.failure: GalleryError | None = None  # DuckDB's own message would hide it
        self.ordinal = "row"
        while folded(self.ordinal) in {folded(field.name) for field in fields}:
            self.ordinal += "_"
        self.schema = pa.schema([*fields, pa.field(self.ordinal, pa.int64())])
        self._fields = list(fields)
        self._files = list(zip(paths, counts, strict=True))

    def reader(self) -> pa.RecordBatchReader:
        """All batches of all files, once."""
        return pa.RecordBatchReader.from_batches(self.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        first = 0
        for path, num_rows in self._files:
            try:
                done = 0
                for num, columns in self._columns(path, num_rows):
                    rows = pa.array(np.arange(first + done, first + done + num, dtype=np.int64))
                    yield pa.RecordBatch.from_arrays([*columns, rows], schema=self.schema)
                    done += num
                if done != num_rows:
                    raise OSError(f"it has {done} rows, said {num_rows}")
            except (OSError, KeyError, pa.ArrowException) as error:
                self.failure = damaged(Path(path), first_line(error))
                raise self.failure from error
            first += num_rows

    def _columns(self, path: Path, num_rows: int) -> Iterator[tuple[int, list[pa.Array]]]:
        if not self._fields:  # Arrow would not say how many rows there are
            yield num_rows, []
            return
        names = [field.name for field in self._fields]
        with pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=names, use_threads=False):
                yield batch.num_rows, [batch.column(field.name).cast(field.type) for field in self._fields]


def _readable(kind: pa.DataType) -> pa.DataType:
    """The type itself, or what a column of it is read as where DuckDB has no such type: floats for half floats."""
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_readable(kind.value_type), kind.list_size)
    return kind


def _opened(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except (OSError, pa.ArrowException) as error:
        raise damaged(Path(path), first_line(error)) from error
