"""Changes to a gallery, one writer at a time, each a commit: what was committed stays, whatever comes after.

In: rows with their vectors, keys to remove. Out: new shards, a new list of removed rows, a new generation of the index,
and each time a new manifest, which alone makes them part of the gallery. Files that no manifest names any more go after
the commit; what a killed writer left behind goes when the next one begins.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from semblance.errors import GalleryError, InputError
from semblance.files import sync_folder
from semblance.gallery import shards
from semblance.gallery.folder import writing
from semblance.gallery.generation import open_index
from semblance.gallery.index import VectorIndex
from semblance.gallery.index_options import IndexOptions, choose_type
from semblance.gallery.keypoints import Keypoints, write_keypoints
from semblance.gallery.lock import writer_lock
from semblance.gallery.manifest import LARGEST_KEY, IndexFile, Manifest, Part, TableFile
from semblance.gallery.mapped import MappedTable
from semblance.gallery.prepare import misfit
from semblance.gallery.removed import read_alive, write_removed
from semblance.gallery.rows import Rows, as_keys
from semblance.gallery.shards import NUM_KEYPOINTS, ErrorRow, Row
from semblance.gallery.stored_keypoints import StoredKeypoints
from semblance.inputs.sources import Item

_OURS = re.compile(r"\..+\.part|\d{6}\.(parquet|usearch)|removed-\d{6}\.parquet")
# Measured (`python -m bench.million`): an index of which 10 % was removed answers as well as before; one that
# changed by half is built again as fast as it is changed
_REBUILT_FROM = 0.5

_log = logging.getLogger(__name__)


class GalleryWriter:
    """A gallery open for changes; use `GalleryWriter.open`."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Open the files that `manifest` names; the caller holds the lock."""
        self.path = path
        self.manifest = manifest
        self.errors = shards.committed_errors(path, manifest.errors)
        self.rows = Rows([], manifest.card.dimension)
        self.keys = np.empty(0, np.int64)  # [N] of all rows
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
        try:
            keys = np.array([row.key for row in rows], np.int64)
        except OverflowError as error:
            raise InputError(f"keys must be integers of 64 bits ({error})") from error
        if len(np.unique(keys)) < len(keys):
            raise InputError("each key must be given once; these rows repeat one")
        manifest, replaced = self.manifest, self._alive_rows_of(keys)
        with writing(self.path):
            if len(rows):
                columns = self._columns_of(rows)
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
                manifest = replace(manifest, columns=columns, shards=(*manifest.shards, shard), next_key=next_key)
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
        self._check_finished()
        self._check_rows(rows, vectors)
        if len(rows):
            self.append(rows, vectors)

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
        index = None if fresh else self._opened_index()
        if not self.alive.any():
            if index is None and self.manifest.index is not None:
                # one that cannot be read would keep the gallery from being opened
                self._commit(replace(self.manifest, index=None))
            return
        if index is not None and self._num_changes(index) == 0:
            return
        if index is None or not self._change(index, threads):
            index = self._new_index(self.rows, self.alive, threads, progress)
        self._commit(replace(self.manifest, index=self._saved(index, len(self.rows))))

    def compact(self, *, threads: int) -> None:
        """Write all shards anew without the rows that no longer count, and with them their keypoints and the index.

        Raises GalleryError where a source was not taken to its end yet, since its shards have to stay where they are.
        """
        self._check_finished()
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
            index = self._saved(self._new_index(rows, np.ones(len(rows), np.bool_), threads), len(rows))
        self._commit(replace(manifest, shards=tuple(written), sift=tuple(sift), removed=None, index=index))

    # What there is

    def _check_finished(self) -> None:
        if not all(part.is_complete for part in self.manifest.parts):
            raise GalleryError(
                f"{self.path} is unfinished: {self.manifest.parts[-1].source} was not taken to its end; finish it first"
            )

    def alive_keys(self) -> NDArray[np.int64]:
        """The keys of the rows that count, [N] int64, in the order of the rows."""
        return self.keys[self.alive]

    def tidy(self) -> None:
        """Remove files that no manifest names: a killed writer's, or an older generation's."""
        named = {self.path / file.file for file in self.manifest.files}
        for folder in (self.path, *(self.path / name for name in ("shards", "sift", "index"))):
            for entry in folder.iterdir() if folder.is_dir() else ():
                if _OURS.fullmatch(entry.name) and entry not in named and entry.is_file():
                    with suppress(PermissionError):  # on Windows as long as a reader has it; it goes with the next
                        entry.unlink()
        errors = self.manifest.errors
        if (self.path / errors.file).stat().st_size != errors.num_bytes:
            shards.write_errors(self.path, [], before=self.errors)

    # ------------------------------------------------------------------------------------------------------------------

    def _take(self, manifest: Manifest) -> None:
        """Have the files that `manifest` names open; those that were open already stay so."""
        before = self.rows.tables
        have = {table.table: table for table in before}
        tables = tuple(have.get(shard) or MappedTable(self.path / shard.file, shard) for shard in manifest.shards)
        kept = len(before) if tables[: len(before)] == before else 0
        new = (table.columns(["key"]).column("key").to_numpy() for table in tables[kept:])
        self.keys = np.concatenate([self.keys if kept else np.empty(0, np.int64), *new])
        self.rows = Rows(tables, manifest.card.dimension)
        self.alive = read_alive(self.path, manifest.removed, len(self.rows))  # [N] which rows count
        if manifest.has_keypoints:
            opened = {} if self.keypoints is None else {table.table: table for table in self.keypoints.tables}
            sift = (opened[f] if f in opened else MappedTable(self.path / f.file, f) for f in manifest.sift)
            self.keypoints = StoredKeypoints(self.rows, list(sift))
        if manifest.errors != self.manifest.errors:
            self.errors = shards.committed_errors(self.path, manifest.errors)
        self.manifest = manifest

    def _commit(self, manifest: Manifest, *, removed: NDArray[np.int64] | None = None) -> None:
        with writing(self.path):
            if removed is not None and len(removed):
                dead = np.union1d(np.flatnonzero(~self.alive), removed)
                number = 1 + (int(manifest.removed.file[-14:-8]) if manifest.removed else 0)
                manifest = replace(manifest, removed=write_removed(self.path, number, dead, self.rows, self.keys))
            manifest.write(self.path)
            self._take(manifest)
            self.tidy()

    def _check_rows(self, rows: Sequence[Row], vectors: NDArray[np.float32]) -> None:
        """Raises InputError for what a gallery cannot hold, with the row's uri."""
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
        wanted = np.sort(keys)
        is_wanted = wanted[np.minimum(np.searchsorted(wanted, self.keys), len(wanted) - 1)] == self.keys
        return np.flatnonzero(is_wanted & self.alive)

    def _opened_index(self) -> VectorIndex | None:
        """The present index, in memory, where there is one that can be used."""
        try:
            return open_index(self.path, self.manifest, mmap=False)
        except GalleryError as error:  # nothing is lost: all of it is in the shards
            _log.warning("%s", error)
            return None

    def _num_changes(self, index: VectorIndex) -> int:
        """How many rows came and went since `index` was made."""
        assert self.manifest.index is not None
        covered = self.manifest.index.num_rows
        return int(self.alive[covered:].sum()) + len(index) - int(self.alive[:covered].sum())

    def _change(self, index: VectorIndex, threads: int) -> bool:
        """Bring `index` up to date; False, and the index of no more use, where a new one is better."""
        assert self.manifest.index is not None
        covered = self.manifest.index.num_rows
        if self._num_changes(index) > _REBUILT_FROM * len(self):
            return False
        threads = 1 if self.manifest.options["index"]["deterministic"] else threads
        index.remove(np.flatnonzero(~self.alive[:covered]))
        takes_places = index.num_free > 0 and self.alive[covered:].any()
        try:
            index.add(self.rows.blocks(covered), first_row=covered, alive=self.alive[covered:], threads=threads)
        except InputError:  # its number type cannot hold a new vector; the next one's will
            return False
        if takes_places:
            # Measured, 400 x 3-d, a fifth replaced at a time: up to 6 of the other rows were lost each time
            index.repair(self.rows.blocks(), alive=self.alive, threads=threads)
        return True

    def _new_index(
        self,
        rows: Rows,
        alive: NDArray[np.bool_],
        threads: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> VectorIndex:
        options, metric, blocks = dict(self.manifest.options["index"]), self.manifest.card.metric, rows.blocks()
        if options["dtype"] is None:  # whoever searches a gallery has the stored vectors decide
            options["dtype"] = choose_type(blocks, metric, alive, is_rescored=True)
        return VectorIndex.build(
            blocks,
            metric=metric,
            alive=alive,
            threads=1 if options.pop("deterministic") else threads,
            progress=progress,
            **asdict(IndexOptions(**options)),
        )

    def _saved(self, index: VectorIndex, num_rows: int) -> IndexFile:
        """The index as its next generation, which no manifest names yet."""
        generation = self.manifest.index.generation + 1 if self.manifest.index else 1
        name = f"index/{generation:06d}.usearch"
        with writing(self.path):
            (self.path / "index").mkdir(exist_ok=True)
            sync_folder(self.path)
            written = index.save(self.path / name)
        return IndexFile(generation, name, num_rows, written.num_bytes, written.sha256, index.factor)

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
