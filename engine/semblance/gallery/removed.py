"""The rows of a gallery that no longer count: removed ones, and ones that a younger row of the same key replaced.

In: row numbers. Out: one small Parquet file, or a mask over all rows. Shards are never rewritten for a removal: the
file says by key, shard and position what to leave out, so that any Parquet reader can.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from semblance.errors import GalleryError
from semblance.gallery.manifest import TableFile
from semblance.gallery.mapped import MappedTable
from semblance.gallery.rows import Rows
from semblance.gallery.shards import write_table


def removed_name(number: int) -> str:
    """The file of the `number`-th state of removals, relative to its gallery."""
    return f"removed-{number:06d}.parquet"


def next_removed(removed: TableFile | None) -> int:
    """The number of the state after the one in the file `removed`."""
    return 1 if removed is None else 1 + int(removed.file.removeprefix("removed-").removesuffix(".parquet"))


def write_removed(
    gallery: Path, number: int, removed: NDArray[np.int64], rows: Rows, keys: NDArray[np.int64]
) -> TableFile:
    """Write the row numbers `removed` [n], ascending, of all `rows`, whose keys are `keys` [N]."""
    shard = np.searchsorted(rows.starts, removed, side="right") - 1
    names = pa.array([table.table.file for table in rows.tables], pa.string())
    table = pa.table(
        {
            "row": pa.array(removed, pa.int64()),  # counted through all shards
            "key": pa.array(keys[removed], pa.int64()),
            "shard": names.take(pa.array(shard)),
            "row_in_shard": pa.array(removed - rows.starts[shard], pa.int64()),
        }
    )
    return write_table(gallery, removed_name(number), table)


def read_alive(gallery: Path, removed: TableFile | None, num_rows: int) -> NDArray[np.bool_]:
    """Which of `num_rows` rows count: [N] bool. Raises GalleryError where the file is damaged."""
    alive = np.ones(num_rows, np.bool_)
    if removed is None:
        return alive
    path = gallery / removed.file
    dead = MappedTable(path, removed).columns(["row"]).column("row").to_numpy()
    if len(dead) and not (dead.min() >= 0 and dead.max() < num_rows):
        raise GalleryError(f"{path} names rows that the shards do not have; restore the gallery from a copy")
    alive[dead] = False
    return alive
