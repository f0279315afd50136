"""Changes to a gallery, one writer at a time, each a commit: what was committed stays, whatever comes after.

In: rows with their vectors, keys to remove. Out: new shards, a new list of removed rows, a new generation of the index,
and each time a new manifest, which alone makes them part of the gallery. Files that no manifest names any more go after
the commit; what a killed writer left behind goes when the next one begins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from semblance.errors import GalleryError, InputError
from semblance.gallery import shards
from semblance.gallery.folder import writing
from semblance.gallery.index_update import IndexUpdate
from semblance.gallery.keypoints import Keypoints, keypoints_problem, write_keypoints
from semblance.gallery.keys import Keys
from semblance.gallery.lock import writer_lock
from semblance.gallery.manifest import LARGEST_KEY, IndexFile, Manifest, Part, TableFile
from semblance.gallery.mapped import MappedTable
from semblance.gallery.merging import stretches_to_merge
from semblance.gallery.prepare import misfit
from semblance.gallery.removed import next_removed, read_alive, write_removed
from semblance.gallery.rows import Rows, as_keys
from semblance.gallery.shards import NUM_KEYPOINTS, ErrorRow, Row
from semblance.gallery.stored_keypoints import StoredKeypoints
from semblance.inputs.sources import Item

_OURS = re.compile(r"\..+\.part|\d{6,}\.(parquet|usearch)|removed-\d{6,}\.parquet")


class GalleryWriter:
    """A gallery open for changes; use `GalleryWriter.open`."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Open the files that `manifest` names; the caller holds the lock."""
        self.path = path
        self.manifest = manifest
        self.errors = shards.committed_errors(path, manifest.errors)
        self.rows = Rows([], manifest.card.dimension)
        self.is_indexing = False  # somebody writes into the folder of the index, where nothing is tidied meanwhile
        self._keys = Keys(np.empty(0, np.int64))  # of all rows
        self.alive = np.empty(0, np.bool_)  # [N] which rows count
        self.keypoints: StoredKeypoints | None = None  # of all rows, in a gallery that keeps them
        self._take(manifest)

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[GalleryWriter]:
        """The gallery at `path` with its lock held, after tidying what a killed writer left.

        Raises GalleryError where another one writes, or a file is damaged.
        """
        Manifest.read(path)  # a folder that is no gallery gets no lock file
        with locked(path):
            writer = cls(path, Manifest.read(path))
            with writing(path):
                writer.tidy()
            yield writer

    def __len__(self) -> int:
        return self.manifest.num_images

    @property
    def keys(self) -> NDArray[np.int64]:
        """The key of every row, removed ones too, [N] int64."""
        return self._keys.of_rows

    def reload(self) -> None:
        """Have the gallery as it is on the disk, after a commit that failed. Raises GalleryError."""
        self._take(Manifest.read(self.path))
        with writing(self.path):
            self.tidy()

    # Commits

    def append(
        self,
        rows: Sequence[Row],
        vectors: NDArray[np.floating[Any]],
        *,
        keypoints: list[Keypoints] | None = None,
        errors: Sequence[ErrorRow] = (),
        part: Part | None = None,
    ) -> None:
        """Store `rows` and `vectors` [len(rows), D], and how far the source was taken with them, as one commit.

        A row whose key is here already replaces that one. The vectors are stored as the gallery's number type, and
        must be usable as such (`shards.vector_problem`). In a gallery with keypoints, `keypoints` are those of each
        row, and are taken out of that list; without them no row has any. Raises InputError for keys that repeat,
        GalleryError.
        """
        keys = _distinct_keys(rows)
        manifest, replaced = self.manifest, self._alive_rows_of(keys)
        with writing(self.path):
            if len(rows):
                manifest = self._with_shard(rows, keys, vectors, keypoints)
            if part is not None:
                end = part.first_key + part.num_items
                manifest = replace(manifest.with_part(part), next_key=max(manifest.next_key, end))
            if errors:
                manifest = replace(manifest, errors=shards.write_errors(self.path, errors, before=self.errors))
        self._commit(manifest, removed=replaced)

    def upsert(self, rows: Sequence[Row], vectors: NDArray[np.float32]) -> None:
        """Store pictures of one's own: `rows` and their `vectors` [len(rows), D] float32, as one commit.

        A row whose key is here already replaces that one; any integer of 64 bits is a key. Such rows have no keypoints.
        Raises InputError for vectors that are not finite as the gallery stores them, or zero under cosine, for keys
        that repeat and for rows that the gallery's columns cannot hold; GalleryError where a source was not taken to
        its end yet, since the keys to come are its own.
        """
        self.check_finished()
        self.check_rows(rows, vectors)
        if len(rows):
            self.append(rows, vectors)

    def change(
        self,
        rows: Sequence[Row],
        vectors: NDArray[np.float32],
        *,
        keypoints: list[Keypoints] | None = None,
        removed_keys: Sequence[int] | NDArray[np.int64] = (),
    ) -> int:
        """`upsert` and `remove` as one commit; returns how many of `removed_keys` [n] there were.

        In a gallery with keypoints, `keypoints` are those of each row, and are taken out of that list. A gallery
        without an index, as one from which all was removed, gets one with its first rows, so that it can be opened.
        Raises what `upsert` and `remove` raise, and InputError for a key that is both put and removed, and for
        keypoints that the gallery does not keep or that are not one set for each row.
        """
        self.check_finished()
        self.check_rows(rows, vectors, keypoints)
        keys, gone = _distinct_keys(rows), np.unique(as_keys(removed_keys))
        if len(both := np.intersect1d(keys, gone)):
            raise InputError(f"key {both[0]} is both put and removed; decide which of the two comes last")
        dead = self._alive_rows_of(gone)
        if not len(rows):
            if len(dead):
                self._commit(self.manifest, removed=dead)
            return len(dead)
        removed = np.union1d(dead, self._alive_rows_of(keys))
        with writing(self.path):
            manifest = self._with_shard(rows, keys, vectors, keypoints)
        if manifest.index is None:
            manifest = self._with_first_index(manifest, removed)
        self._commit(manifest, removed=removed)
        return len(dead)

    def finish(self, part: Part) -> None:
        """Commit that the source of `part`, the last one, was taken to its end; one that gave nothing is forgotten."""
        manifest, end = self.manifest, part.first_key + part.num_items
        gave = (self.keys >= part.first_key).any() or (self.errors.column("key").to_numpy() >= part.first_key).any()
        others = tuple(each for each in manifest.parts if each.is_complete)  # this one may not be among them
        if gave or not others:
            self._commit(replace(manifest.with_part(part), next_key=max(manifest.next_key, end)))
        elif others != manifest.parts:
            self._commit(replace(manifest, parts=others))

    def remove(self, keys: NDArray[np.int64]) -> int:
        """Remove the pictures of `keys` [n] int64; returns how many there were. Unknown keys are none.

        Raises InputError for what is no integer of 64 bits.
        """
        rows = self._alive_rows_of(np.unique(as_keys(keys)))
        if len(rows):
            self._commit(self.manifest, removed=rows)
        return len(rows)

    def update_index(
        self, *, threads: int, fresh: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Make the index cover every row that counts, by changing it, or by building it anew where that is better.

        Raises InputError where the number type that the gallery's options name cannot hold a vector.
        """
        update = self.index_update()
        index = None if fresh else update.opened()
        if not self.alive.any():
            if index is None and self.manifest.index is not None:
                # one that cannot be read would keep the gallery from being opened
                self._commit(replace(self.manifest, index=None))
            return
        if (updated := update.updated(index, threads=threads, progress=progress)) is not None:
            self.commit_index(update.saved(updated))

    def index_update(self) -> IndexUpdate:
        """What the next index is to be made from: the gallery as it is now, which later commits leave as it is."""
        return IndexUpdate(self.path, self.manifest, self.rows, self.alive)

    def commit_index(self, index: IndexFile) -> None:
        """Commit an index that `IndexUpdate.saved` wrote, of this state or of an earlier one.

        Rows that came since then are younger than it, and those that went do not count. Since then there must have been
        no compaction and no other index.
        """
        self._commit(replace(self.manifest, index=index))

    def merge(self, *, most: int | None = None) -> int:
        """Join small shards that follow each other, with their keypoints, as one commit; returns how many fewer it are.

        `most` bounds how many shards are written, the youngest first. Each has at most `shard_rows` rows, which are
        held in memory one shard at a time. Rows keep their numbers, those that no longer count too, so that the index
        and what is known of removed rows stay right. Raises GalleryError where a source was not taken to its end yet.
        """
        self.check_finished()
        stretches = self.stretches_to_merge()[:most]
        if not stretches:
            return 0
        manifest, number = self.manifest, self.manifest.next_shard
        files, sift, tables = list(manifest.shards), list(manifest.sift), list(self.rows.tables)
        for place in stretches:  # from the youngest, so that the places of older ones stay what they are
            with writing(self.path):
                if self.keypoints is not None:
                    sift[place] = [self._merged_keypoints(place, number)]
                joined = pa.concat_tables([table.columns(table.names) for table in tables[place]])
                files[place] = [shards.write_rows(self.path, number, joined)]
            tables[place] = [MappedTable(self.path / files[place.start].file, files[place.start])]
            number += 1
        with writing(self.path):
            manifest = replace(manifest, shards=tuple(files), sift=tuple(sift))
            if manifest.removed is not None:  # it names shards, for other readers
                dead, rows = np.flatnonzero(~self.alive), Rows(tables, manifest.card.dimension)
                number = next_removed(manifest.removed)
                manifest = replace(manifest, removed=write_removed(self.path, number, dead, rows, self.keys))
        self._commit(manifest)
        return sum(each.stop - each.start - 1 for each in stretches)

    def stretches_to_merge(self) -> list[slice]:
        """The shards that `merge` would join, the youngest first."""
        return stretches_to_merge([len(table) for table in self.rows.tables], self.manifest.options["shard_rows"])

    def compact(self, *, threads: int) -> None:
        """Write all shards anew without the rows that no longer count, and with them their keypoints and the index.

        Raises GalleryError where a source was not taken to its end yet, since its shards have to stay where they are.
        """
        self.check_finished()
        manifest = self.manifest
        number, written, sift = manifest.next_shard, list[TableFile](), list[TableFile]()
        kept = np.flatnonzero(self.alive)
        for table in self._compacted():
            here, kept = kept[: len(table)], kept[len(table) :]
            with writing(self.path):
                if self.keypoints is not None:
                    counts, found = table.column(NUM_KEYPOINTS).to_pylist(), self.keypoints.pieces(here)
                    sift.append(write_keypoints(self.path, number + len(written), self.keys[here], counts, found))
                written.append(shards.write_rows(self.path, number + len(written), table))
        rows = Rows([MappedTable(self.path / shard.file, shard) for shard in written], manifest.card.dimension)
        index = None
        if len(rows):
            update = IndexUpdate(self.path, manifest, rows, np.ones(len(rows), np.bool_))
            index = update.saved(update.built(threads=threads))
        self._commit(replace(manifest, shards=tuple(written), sift=tuple(sift), removed=None, index=index))

    # What there is

    def check_finished(self) -> None:
        """Raises GalleryError where a source was not taken to its end yet: the keys to come are its own."""
        if not all(part.is_complete for part in self.manifest.parts):
            raise GalleryError(
                f"{self.path} is unfinished: {self.manifest.parts[-1].source} was not taken to its end; finish it first"
            )

    def contains(self, key: int) -> bool:
        """Whether a picture has this key."""
        return len(self._alive_rows_of(np.array([key], np.int64))) > 0

    @property
    def num_younger(self) -> int:
        """Rows that count and that the index does not cover, which a search compares one by one."""
        covered = 0 if self.manifest.index is None else self.manifest.index.num_rows
        return int(self.alive[covered:].sum())

    def alive_keys(self) -> NDArray[np.int64]:
        """The keys of the rows that count, [N] int64, in the order of the rows."""
        return self.keys[self.alive]

    def tidy(self) -> None:
        """Remove files that no manifest names: a killed writer's, or an older generation's."""
        named = {file.file for file in self.manifest.files}
        for folder in ("", "shards", "sift") if self.is_indexing else ("", "shards", "sift", "index"):
            if not (self.path / folder).is_dir():
                continue
            with os.scandir(self.path / folder) as entries:
                left = [
                    entry
                    for entry in entries
                    if _OURS.fullmatch(entry.name) and f"{folder}/{entry.name}".lstrip("/") not in named
                ]
            for entry in left:
                if entry.is_file():
                    with suppress(PermissionError):  # on Windows as long as a reader has it; it goes with the next
                        os.unlink(entry)
        errors = self.manifest.errors
        if (self.path / errors.file).stat().st_size != errors.num_bytes:
            shards.write_errors(self.path, [], before=self.errors)

    # ------------------------------------------------------------------------------------------------------------------

    def _take(self, manifest: Manifest) -> None:
        """Have the files that `manifest` names open; those that were open already stay so."""
        rows = Rows.open(self.path, manifest, self.rows.tables)
        shared, start = rows.num_shared(self.rows)
        keys = self._keys.followed_by(rows.keys(shared), start=start)
        keypoints, errors = self.keypoints, self.errors
        if manifest.has_keypoints:
            keypoints = StoredKeypoints.open(self.path, manifest, rows, keypoints)
        if manifest.errors != self.manifest.errors:
            errors = shards.committed_errors(self.path, manifest.errors)
        if manifest.removed is None or manifest.removed != self.manifest.removed or not len(self.alive):
            alive = read_alive(self.path, manifest.removed, len(rows))
        else:
            alive = np.concatenate([self.alive, np.ones(len(rows) - len(self.alive), np.bool_)])
        # nothing above has changed anything, should it have failed
        self.rows, self._keys, self.alive = rows, keys, alive
        self.keypoints, self.errors, self.manifest = keypoints, errors, manifest

    def _commit(self, manifest: Manifest, *, removed: NDArray[np.int64] | None = None) -> None:
        with writing(self.path):
            if removed is not None and len(removed):
                is_dead = ~self.alive
                is_dead[removed] = True
                dead = np.flatnonzero(is_dead)
                number = next_removed(manifest.removed)
                manifest = replace(manifest, removed=write_removed(self.path, number, dead, self.rows, self.keys))
            manifest.write(self.path)
            self._take(manifest)
            self.tidy()

    def _with_shard(
        self,
        rows: Sequence[Row],
        keys: NDArray[np.int64],
        vectors: NDArray[np.floating[Any]],
        keypoints: list[Keypoints] | None,
    ) -> Manifest:
        """The manifest with `rows`, of which there is one at least, as a further shard, which is written."""
        manifest, columns = self.manifest, self._columns_of(rows)
        number, counts = manifest.next_shard, None
        if manifest.has_keypoints:
            counts = [0] * len(rows) if keypoints is None else [len(each) for each in keypoints]
            sift = write_keypoints(self.path, number, keys, counts, _drained(keypoints or []))
            manifest = replace(manifest, sift=(*manifest.sift, sift))
        shard = shards.write_shard(
            self.path,
            number,
            rows,
            vectors,
            columns=columns,
            vector_type=manifest.options["vector_type"],
            num_keypoints=counts,
        )
        next_key = max(manifest.next_key, min(int(keys.max()) + 1, LARGEST_KEY))
        return replace(manifest, columns=columns, shards=(*manifest.shards, shard), next_key=next_key)

    def _with_first_index(self, manifest: Manifest, removed: NDArray[np.int64]) -> Manifest:
        """The manifest, of which the last shard is new, with an index of all rows but the `removed` ones."""
        rows = Rows.open(self.path, manifest, self.rows.tables)
        alive = np.concatenate([self.alive, np.ones(len(rows) - len(self.alive), np.bool_)])
        alive[removed] = False
        update = IndexUpdate(self.path, manifest, rows, alive)
        return replace(manifest, index=update.saved(update.built(threads=1)))

    def _merged_keypoints(self, place: slice, number: int) -> TableFile:
        """The keypoints of some shards as those of shard `number`, which is to hold their rows."""
        assert self.keypoints is not None
        rows = np.arange(self.rows.starts[place.start], self.rows.starts[place.stop])
        counts, pieces = self.keypoints.counts(rows).tolist(), self.keypoints.pieces(rows)
        return write_keypoints(self.path, number, self.keys[rows], counts, pieces)

    def check_rows(
        self, rows: Sequence[Row], vectors: NDArray[np.float32], keypoints: Sequence[Keypoints] | None = None
    ) -> None:
        """Raises InputError for what a gallery cannot hold, with the row's uri."""
        if keypoints is not None and not self.manifest.has_keypoints:
            raise InputError(f"{self.path} keeps no keypoints; put its pictures without, or build one with SIFT")
        if keypoints is not None:
            if len(keypoints) != len(rows):
                raise InputError(f"keypoints must be one set for each of {len(rows)} rows, are {len(keypoints)}")
            for row, each in zip(rows, keypoints, strict=True):
                if problem := keypoints_problem(each, self.manifest.options["sift"]["max_keypoints"]):
                    raise InputError(f"{row.uri}: {problem}")
        dimension, columns = self.manifest.card.dimension, self.manifest.columns
        if (
            not isinstance(vectors, np.ndarray)
            or vectors.dtype != np.float32
            or vectors.shape != (len(rows), dimension)
        ):
            given = (
                f"{vectors.dtype} {list(vectors.shape)}" if isinstance(vectors, np.ndarray) else type(vectors).__name__
            )
            raise InputError(f"vectors must be float32 [{len(rows)}, {dimension}], one for each row, are {given}")
        for row in rows:
            if problem := _misfit(row):
                raise InputError(f"{row.uri}: {problem}")
        if columns is None:
            try:
                columns = self._columns_of(rows)
            except GalleryError as error:
                raise InputError(str(error)) from error
        with np.errstate(over="ignore"):  # beyond half floats: infinite, and found below
            stored = vectors.astype(self.manifest.options["vector_type"])
        for row, vector in zip(rows, stored, strict=True):
            problem = shards.misfit(row.columns, columns) or shards.vector_problem(vector, self.manifest.card.metric)
            if problem:
                raise InputError(f"{row.uri}: {problem}")

    def _columns_of(self, rows: Sequence[Row]) -> Mapping[str, str]:
        """The gallery's columns and their types, which the first rows decide. Raises GalleryError."""
        if self.manifest.columns is not None:
            return self.manifest.columns
        return shards.column_types((row.columns for row in rows), has_keypoints=self.manifest.has_keypoints)

    def _alive_rows_of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows that count and have one of `keys`, ascending."""
        next_key = self.manifest.next_key
        if not len(keys) or (keys.min() >= next_key and next_key < LARGEST_KEY):  # as all of a new source's
            return np.empty(0, np.int64)
        rows = self._keys.youngest(keys)
        rows = np.unique(rows[rows >= 0])
        return rows[self.alive[rows]]

    def _compacted(self) -> Iterator[pa.Table]:
        """The rows that count, in tables of `shard_rows` rows but for the last."""
        shard_rows, waiting = self.manifest.options["shard_rows"], list[pa.Table]()
        for number, table in enumerate(self.rows.tables):
            alive = self.alive[self.rows.starts[number] : self.rows.starts[number + 1]]
            if alive.any():
                waiting.append(table.columns(table.names).filter(pa.array(alive)))
            while sum(map(len, waiting)) >= shard_rows:
                joined = pa.concat_tables(waiting)
                yield joined.slice(0, shard_rows)
                waiting = [joined.slice(shard_rows)]
        if sum(map(len, waiting)):
            yield pa.concat_tables(waiting)


def _drained(keypoints: list[Keypoints]) -> Iterator[Keypoints]:
    """All of a list in its order, which is empty afterwards: those of a shard would else be in memory twice."""
    keypoints.reverse()
    while keypoints:
        yield keypoints.pop()


def _distinct_keys(rows: Sequence[Row]) -> NDArray[np.int64]:
    """The key of each row, [n]. Raises InputError for what is no integer of 64 bits, and for keys that repeat."""
    try:
        keys = np.array([row.key for row in rows], np.int64)
    except OverflowError as error:
        raise InputError(f"keys must be integers of 64 bits ({error})") from error
    if len(np.unique(keys)) < len(keys):
        raise InputError("each key must be given once; these rows repeat one")
    return keys


def _misfit(row: Row) -> str:
    """Why no gallery's columns can hold what a row says of its picture; empty where they can."""
    for name, largest in (("key", LARGEST_KEY), ("width", 2**31 - 1), ("height", 2**31 - 1)):
        value, smallest = getattr(row, name), -(2**63) if name == "key" else 0
        if type(value) is not int or not smallest <= value <= largest:
            return f"its {name} is {value!r}; expected an integer in {smallest}..{largest}"
    if not isinstance(row.sha256, str) or not re.fullmatch("[0-9a-f]{64}", row.sha256):
        return f"its sha256 is {row.sha256!r}; expected 64 hex digits"
    return misfit(Item(row.uri, b"", row.label, row.columns))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The lock of the folder `path`. Raises GalleryError where another writer has it, or the folder refuses."""
    with ExitStack() as stack:
        with writing(path):
            stack.enter_context(writer_lock(path))
        yield
