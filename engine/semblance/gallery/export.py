"""A gallery as one file for other programs: a Parquet table, an array of embeddings, or a USearch index.

In: an open gallery and a path, whose suffix decides. Out: the file, whole or not at all.

    NAME.parquet   all pictures with their columns and embeddings, a row group for each shard, read and written a shard
                   at a time; the model's card is in the file's metadata as `semblance.card`
    NAME.npy       the embeddings [N, D] as they are stored, and NAME.keys.npy: their keys [N] int64 in that order
    NAME.usearch   a USearch index under the gallery's own keys, which must not be negative; it is held in memory
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from semblance.card import CARD_KEY
from semblance.errors import InputError
from semblance.files import write_aside
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.index import VectorIndex
from semblance.gallery.index_options import IndexOptions
from semblance.gallery.mapped import EMBEDDING

SUFFIXES = (".parquet", ".npy", ".usearch")

_PLAIN = ("f32", "f16", "bf16")  # types whose vectors USearch compares with anybody's queries; our i8 is scaled
_ABOVE_ALL = np.uint64(2**63)  # no key of ours is as high


def export(gallery: VectorGallery, out: Path, *, threads: int = 1) -> list[Path]:
    """Write the pictures of `gallery` to `out`, in the place of what was there; returns the files written.

    Raises InputError for another suffix, a place that cannot be written, a gallery without pictures, and a negative
    key where an index is asked for; GalleryError for a damaged gallery.
    """
    out = Path(out)
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"a gallery is exported as {', '.join(SUFFIXES)}, {out} is none of them; give it one of these")
    if not len(gallery):
        raise InputError(f"{gallery.path} holds no pictures; there is nothing to export")
    try:
        if suffix == ".parquet":
            write_aside(out, lambda aside: _write_table(gallery, aside))
            return [out]
        if suffix == ".npy":
            return _write_arrays(gallery, out)
        _write_index(gallery, out, threads)
        return [out]
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error}); give another path, or make room") from error


def _write_table(gallery: VectorGallery, aside: Path) -> None:
    """A row group for each shard that has pictures, so that no more than one is in memory."""
    row, writer = 0, None
    try:
        for table in gallery.all_rows.tables:
            alive = gallery.alive[row : row + len(table)]
            row += len(table)
            if not alive.any():
                continue
            rows = table.columns(table.names)
            if writer is None:
                schema = rows.schema.with_metadata({CARD_KEY: gallery.card.to_json()})
                compression = {name: "NONE" if name == EMBEDDING else "ZSTD" for name in table.names}
                writer = pq.ParquetWriter(aside, schema, compression=compression, use_dictionary=["label"])
            kept = rows if alive.all() else rows.filter(alive)
            writer.write_table(kept.replace_schema_metadata(schema.metadata), row_group_size=len(kept))
    finally:
        if writer is not None:
            writer.close()


def _write_arrays(gallery: VectorGallery, out: Path) -> list[Path]:
    """Keys first: whoever sees the embeddings has them too."""
    beside = out.with_name(f"{out.name[: -len(out.suffix)]}.keys.npy")
    dtype = np.dtype(gallery.manifest.options["vector_type"])
    write_aside(beside, lambda aside: _write_array(aside, gallery.keys.shape, np.dtype(np.int64), [gallery.keys]))
    shape = (len(gallery), gallery.card.dimension)
    write_aside(out, lambda aside: _write_array(aside, shape, dtype, _alive_blocks(gallery)))
    return [out, beside]


def _write_array(
    aside: Path, shape: tuple[int, ...], dtype: np.dtype[Any], blocks: Iterable[NDArray[np.generic]]
) -> None:
    """An .npy file of blocks that follow each other; written and not mapped, or its pages would count as ours."""
    dtype = dtype.newbyteorder("<")
    with aside.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)


def _alive_blocks(gallery: VectorGallery) -> Iterator[NDArray[np.floating[Any]]]:
    row = 0
    for block in gallery.all_rows.blocks():
        alive = gallery.alive[row : row + len(block)]
        row += len(block)
        if alive.any():
            yield block if alive.all() else block[alive]


def _write_index(gallery: VectorGallery, out: Path, threads: int) -> None:
    """The index of row numbers that a gallery has, with a key for each row."""
    from usearch.index import Index

    if (lowest := int(gallery.keys.min())) < 0:
        raise InputError(f"{gallery.path} has the key {lowest}; USearch's are never negative, export .parquet instead")

    def write(aside: Path) -> None:
        _row_index(gallery, threads).save(aside)
        index: Any = Index.restore(aside, view=False)
        index.metric = gallery.card.metric  # ours compares by dot product, which is true of unit queries only
        rows = np.flatnonzero(gallery.alive).astype(np.uint64)
        # by way of numbers that are neither rows nor keys, or a row would get a key that is another row's number
        for before, after in ((rows, rows + _ABOVE_ALL), (rows + _ABOVE_ALL, gallery.keys.astype(np.uint64))):
            assert all(index.rename(before, after))
        index.save(aside)

    write_aside(out, write)


def _row_index(gallery: VectorGallery, threads: int) -> VectorIndex:
    """Of all rows that count and no others: the gallery's own, or one like it."""
    own, file = gallery.index, gallery.manifest.index
    if own is not None and file is not None and own.dtype in _PLAIN and _covers(gallery, own, file.num_rows):
        return own
    options = {name: gallery.manifest.options["index"][name] for name in asdict(IndexOptions())}
    if options["dtype"] not in _PLAIN:
        options["dtype"] = None
    blocks, metric = gallery.all_rows.blocks(), gallery.card.metric
    return VectorIndex.build(blocks, metric=metric, alive=gallery.alive, threads=threads, **options)


def _covers(gallery: VectorGallery, index: VectorIndex, num_rows: int) -> bool:
    return num_rows == len(gallery.all_rows) and len(index) == len(gallery)
