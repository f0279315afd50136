"""Whether a gallery is what was written: every file's checksum and count, index and keypoints against the shards.

In: a gallery's folder, in whatever state. Out: a list of findings, each with the file, what is wrong with it, and what
to do; an empty list where everything is in order. Nothing is changed, and a writer at work is not disturbed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance.errors import GalleryError
from semblance.gallery import shards
from semblance.gallery.generation import open_index
from semblance.gallery.manifest import MANIFEST_NAME, Manifest, TableFile
from semblance.gallery.mapped import MappedTable, damaged
from semblance.gallery.removed import read_alive
from semblance.gallery.rows import Rows
from semblance.gallery.shards import NUM_KEYPOINTS


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a gallery."""

    file: str  # relative to the gallery
    problem: str
    remedy: str


def verify(path: Path) -> list[Finding]:
    """Read all of the gallery at `path` and list what is wrong. Raises GalleryError where there is no gallery."""
    path = Path(path)
    while True:
        try:
            manifest = Manifest.read(path)
        except GalleryError as error:
            if not (path / MANIFEST_NAME).is_file():
                raise
            return [Finding(MANIFEST_NAME, str(error), _again(path))]
        findings = list(_findings(path, manifest))
        try:
            if not findings or Manifest.read(path) == manifest:
                return findings
        except GalleryError:
            return findings
        # a writer has put another generation in place meanwhile, and taken the files of this one away


def _findings(path: Path, manifest: Manifest) -> Iterator[Finding]:
    tables, num_damaged = [], 0
    for number, shard in enumerate(manifest.shards):
        table = None
        try:
            table = MappedTable(path / shard.file, shard)
            if table.dimension != manifest.card.dimension:
                raise damaged(
                    table.path, f"its embeddings have {table.dimension} dimensions, the model {manifest.card.dimension}"
                )
            yield from _shard(path, manifest, table)
            tables.append(table)
        except GalleryError as error:
            num_damaged += 1
            yield Finding(shard.file, str(error), _again(path))
            table = None
        if manifest.has_keypoints:
            yield from _keypoints(path, manifest.sift[number], table)
    try:
        shards.committed_errors(path, manifest.errors)
    except GalleryError as error:
        yield Finding(manifest.errors.file, str(error), _again(path))
    try:
        alive = read_alive(path, manifest.removed, manifest.num_rows)
    except GalleryError as error:
        yield Finding(manifest.removed.file if manifest.removed else "", str(error), _again(path))
        return
    if num_damaged:
        try:
            open_index(path, manifest)
        except GalleryError as error:
            yield Finding(manifest.index.file if manifest.index else "", str(error), _again(path))
        return  # nothing whole to compare the index with
    rows = Rows(tables, manifest.card.dimension)
    yield from _keys(rows, alive, manifest)
    yield from _index(path, manifest, rows, alive)


def _shard(path: Path, manifest: Manifest, table: MappedTable) -> Iterator[Finding]:
    """What a right checksum does not say: that what was written could be used."""
    vectors = table.block(0, len(table))
    if not np.isfinite(vectors).all():
        yield Finding(table.table.file, "it holds embeddings that are not finite", _again(path))
    if manifest.card.metric == "cos" and not vectors.any(axis=1).all():
        yield Finding(table.table.file, "it holds zero embeddings, which have no direction", _again(path))


def _keypoints(path: Path, file: TableFile, shard: MappedTable | None) -> Iterator[Finding]:
    """The keypoints of a shard's pictures; None for a damaged one, with which they cannot be compared."""
    try:
        table = MappedTable(path / file.file, file)
        table.check()
        if shard is None:
            return
        found = table.columns(["key"]).column("key").to_numpy()
        pictures = shard.columns(["key", NUM_KEYPOINTS])
        counts = pictures.column(NUM_KEYPOINTS).to_numpy()
        if counts.sum() != len(found):
            raise damaged(table.path, f"it has {len(found)} keypoints, its shard says {counts.sum()}")
        if (np.repeat(pictures.column("key").to_numpy(), counts) != found).any():
            raise damaged(table.path, "its keypoints are not those of its shard's pictures")
    except GalleryError as error:
        yield Finding(file.file, str(error), _again(path))


def _keys(rows: Rows, alive: NDArray[np.bool_], manifest: Manifest) -> Iterator[Finding]:
    keys = rows.column("key").to_numpy()[alive] if rows.tables else np.empty(0, np.int64)
    if len(np.unique(keys)) < len(keys):
        yield Finding(MANIFEST_NAME, "some keys are there twice", "remove them by key, and embed those pictures again")
    if len(keys) and keys.max() > manifest.next_key:
        yield Finding(MANIFEST_NAME, f"key {keys.max()} is above its next_key", "embed again")


def _index(path: Path, manifest: Manifest, rows: Rows, alive: NDArray[np.bool_]) -> Iterator[Finding]:
    """The index must hold the very vectors of the shards, each under its row."""
    if manifest.index is None:
        return
    file, rebuild = manifest.index.file, f"`semblance rebuild {path}` makes it anew from the shards"
    try:
        index = open_index(path, manifest)
    except GalleryError as error:
        yield Finding(file, str(error), rebuild)
        return
    assert index is not None
    row, missing, off = 0, 0, 0
    for block in rows.blocks():
        here = np.arange(row, min(row + len(block), manifest.index.num_rows))
        row += len(block)
        here = here[alive[here]]
        known = index.contains(here)
        missing += int((~known).sum())
        off += int((~index.holds(here[known], rows.gather(here[known]))).sum())
    if missing:
        yield Finding(file, f"{missing} rows that it should cover are not in it", rebuild)
    if off:
        yield Finding(file, f"{off} of its vectors are not those of the shards", rebuild)


def _again(path: Path) -> str:
    return f"restore it from a copy, or embed the pictures again into another folder than {path}"
