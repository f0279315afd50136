"""A gallery opened for reading: its vectors, what is known of each picture, and the neighbours of a vector.

In: a gallery's folder, and query vectors of its space. Out: `Neighbours`. What is opened is the gallery as one manifest
says it is; a writer may add and remove meanwhile, and is seen by whoever opens it again, or asks for it `refreshed`.
Every file is compared with its checksum before anything of it is used.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.card import ModelCard
from semblance.errors import GalleryError, InputError
from semblance.gallery.exact import search_blocks
from semblance.gallery.generation import open_index
from semblance.gallery.index import VectorIndex, checked_k
from semblance.gallery.index_options import oversampled
from semblance.gallery.keys import Keys
from semblance.gallery.manifest import LARGEST_KEY, MANIFEST_NAME, Manifest
from semblance.gallery.order import answered_in_order
from semblance.gallery.removed import read_alive
from semblance.gallery.rescore import rescore
from semblance.gallery.rows import Rows, as_keys
from semblance.gallery.shards import Row
from semblance.gallery.stored_keypoints import StoredKeypoints

Queries = NDArray[np.float32]

# Up to here comparing with every matching row is faster than widening the index's answer until enough of it matches
_EXACT_UP_TO = 20_000
_GATHERED_ROWS = 8192
_REMEMBERED = 16  # conditions


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest of each of Q queries, nearest first.

    Where fewer were found, the first `counts[q]` are filled and the rest is key -1 at distance inf.
    """

    keys: NDArray[np.int64]  # [Q, k]
    distances: NDArray[np.float32]  # [Q, k] by the card's metric: 1 - cosine, or squared Euclidean
    counts: NDArray[np.int64]  # [Q]


class VectorGallery:
    """A gallery's vectors and their neighbours; it knows nothing of pictures.

    Rows are counted on through the shards; `len` and everything that is listed leaves out the removed ones.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        rows: Rows,
        alive: NDArray[np.bool_],
        index: VectorIndex | None,
        keypoints: StoredKeypoints | None = None,
    ) -> None:
        """Join what belongs together; use `open`."""
        self.path = path
        self.manifest = manifest
        self.all_rows = rows
        self.alive = alive  # [all rows] bool
        self.index = index
        self.keypoints = keypoints  # of all rows; None: a gallery without SIFT
        self.where_limit_sec: float | None = None  # longest that a condition may take; None: as `filters` has it
        self._matching: dict[str, NDArray[np.bool_]] = {}  # a condition over the first rows, removed ones too
        self._remembering = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> VectorGallery:
        """Open the gallery in the folder `path`.

        Raises GalleryError where it is none, is unfinished, or where a file is missing or not what was written.
        """
        return cls._newest(Path(path), None)

    def refreshed(self) -> VectorGallery:
        """The gallery as it is now: this object where no writer has changed it, else another one.

        The other one shares what this one has open and has read, so that only what is new is opened and compared with
        its checksum. This one stays as it is, for whoever still reads it. Raises GalleryError as `open`.
        """
        try:
            if (self.path / MANIFEST_NAME).read_bytes() == self._manifest_bytes:
                return self
        except OSError:
            pass  # said better below
        return self._newest(self.path, self)

    @classmethod
    def _newest(cls, path: Path, before: VectorGallery | None) -> VectorGallery:
        manifest = Manifest.read(path)
        while True:
            try:
                return cls._open(path, manifest, before)
            except GalleryError:
                # a writer may have put another generation in place since the manifest was read
                tried, manifest = manifest, Manifest.read(path)
                if manifest == tried:
                    raise

    @classmethod
    def _open(cls, path: Path, manifest: Manifest, before: VectorGallery | None) -> VectorGallery:
        if manifest.index is None and not manifest.is_complete:
            raise GalleryError(
                f"{path} is unfinished: {manifest.num_images} images of {manifest.parts[0].source} so far; "
                "the command that began it carries on from there, or "
                f"`semblance rebuild {path}` indexes what is there"
            )
        num_rows = manifest.num_rows
        if before is None or manifest.removed is None or manifest.removed != before.manifest.removed:
            # first of all, since every removal takes the file of the one before away
            alive = read_alive(path, manifest.removed, num_rows)
        else:
            alive = np.ones(num_rows, np.bool_)
            alive[: len(before.alive)] = before.alive[:num_rows]
        rows = Rows.open(path, manifest, () if before is None else before.all_rows.tables)
        keypoints = None
        if manifest.has_keypoints:
            keypoints = StoredKeypoints.open(path, manifest, rows, None if before is None else before.keypoints)
        if before is not None and manifest.index == before.manifest.index:
            index = before.index
        else:
            index = open_index(path, manifest)
        opened = cls(path, manifest, rows, alive, index, keypoints)
        if before is not None:
            opened._carry_on(before)
        return opened

    def _carry_on(self, before: VectorGallery) -> None:
        """Take over what an older state has worked out of rows that are still the same."""
        shared, num_rows = self.all_rows.num_shared(before.all_rows)
        if "_keys" in before.__dict__:  # else nobody has asked for any yet
            self._keys = before._keys.followed_by(self.all_rows.keys(shared), start=num_rows)
        self.where_limit_sec = before.where_limit_sec
        with before._remembering:
            self._matching = {where: passing[:num_rows] for where, passing in before._matching.items()}

    def __len__(self) -> int:
        return self.manifest.num_images

    @property
    def card(self) -> ModelCard:
        """Of the model that made the vectors."""
        return self.manifest.card

    @property
    def fingerprint(self) -> str:
        """Of the embedding space: only vectors of the same may be compared."""
        return self.manifest.card.fingerprint

    @property
    def sources(self) -> list[str]:
        """Where the pictures came from, each place once, in the order they came."""
        return list(dict.fromkeys(part.source for part in self.manifest.parts))

    @property
    def is_current(self) -> bool:
        """Whether no writer has changed the gallery since it was opened."""
        return Manifest.read(self.path) == self.manifest

    # What is known of the pictures, in the order of their rows

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """All embeddings, [N, D] float32, read into memory at first use."""
        parts = [np.empty((0, self.card.dimension), np.float32), *self._alive_blocks(self.alive)]
        return np.concatenate(parts).astype(np.float32, copy=False)

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """The key of each picture, [N] int64."""
        return self._keys.of_rows[self.alive]

    @cached_property
    def uris(self) -> list[str]:
        """The name of each picture in its source, N of them."""
        return self._texts("uri")

    @cached_property
    def labels(self) -> list[str | None]:
        """The label of each picture, N of them, None where there is none."""
        return self._texts("label")

    def rows_of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The position in `keys`, `uris`, `labels` of each key, int64 of the same shape. Raises InputError."""
        rows = self.rows_with(keys)
        return rows if self.manifest.removed is None else self._positions[rows]

    def rows_with(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of each key among all rows, as `all_rows` counts them, int64 of the same shape. Raises InputError."""
        keys = as_keys(keys)
        rows = self._keys.youngest(keys)
        known = rows >= 0
        known[known] = self.alive[rows[known]]
        if not known.all():
            raise InputError(f"key {int(keys[~known].flat[0])} is not in {self.path}, which has {len(self)} pictures")
        return rows

    def __contains__(self, key: object) -> bool:
        """Whether there is a picture of this key."""
        if not isinstance(key, (int, np.integer)) or not -LARGEST_KEY - 1 <= int(key) <= LARGEST_KEY:
            return False
        (row,) = self._keys.youngest(np.array([key], np.int64))
        return bool(row >= 0 and self.alive[row])

    def facts(self, keys: NDArray[np.int64]) -> list[Row]:
        """What is known of the pictures of `keys` [n] beside their vectors, n of them.

        Only shards that hold one of them are read, each once. Raises InputError for a key that is not here,
        GalleryError.
        """
        own = list(self.manifest.columns or {})
        fixed = [each.name for each in fields(Row) if each.name != "columns"]
        found = self.values_of(keys, [*fixed, *own])
        columns = [dict(zip(own, values, strict=True)) for values in zip(*(found[name] for name in own), strict=True)]
        rows = zip(*(found[name] for name in fixed), columns if own else [{} for _ in keys], strict=True)
        return [Row(*each) for each in rows]

    def values_of(self, keys: NDArray[np.int64], names: Sequence[str]) -> dict[str, list[Any]]:
        """What the columns `names` of the shards say of the pictures of `keys` [n]: n Python values for each name.

        Raises InputError for a key that is not here, GalleryError for a column that is not.
        """
        return self.all_rows.values(self.rows_with(keys), names)

    def vectors_of(self, keys: NDArray[np.int64]) -> NDArray[np.float32]:
        """The embeddings of `keys` [n]: [n, D] float32. Raises InputError for a key that is not here."""
        return self.all_rows.gather(self.rows_with(keys)).astype(np.float32, copy=False)

    def matching(self, where: str) -> NDArray[np.bool_]:
        """Which pictures a condition lets pass, [N] bool in the order of `keys`: SQL over the shards' columns.

        Raises InputError for what is no condition on these columns.
        """
        return self._passing(where)[self.alive]

    def describe(self) -> dict[str, str | int]:
        """The facts a user asks for first."""
        manifest, card, index = self.manifest, self.card, self.manifest.index
        described = f"{self.index.dtype}, generation {index.generation}" if self.index and index else "none"
        if index and (younger := int(self.alive[index.num_rows :].sum())):
            described += f", {younger:,} younger images beside it"
        return {
            "images": manifest.num_images,
            "unusable": manifest.errors.num_rows,
            "removed": manifest.removed.num_rows if manifest.removed else 0,
            "source": ", ".join(self.sources),
            "model": card.name,
            "precision": card.precision,
            "dimension": card.dimension,
            "metric": card.metric,
            "fingerprint": card.fingerprint,
            "shards": len(manifest.shards),
            "keypoints": sum(file.num_rows for file in manifest.sift) if manifest.has_keypoints else "none",
            "columns": ", ".join(f"{name} {kind}" for name, kind in (manifest.columns or {}).items()),
            "index": described,
            "bytes": sum(file.num_bytes for file in manifest.files),
            "state": "complete" if manifest.is_complete else f"unfinished: {manifest.parts[-1].source}",
        }

    # Searching

    def check_k(self, k: int) -> int:
        """A number of neighbours, of any integer type, as an int. Raises InputError where not in 1..len(gallery)."""
        return checked_k(k, len(self), "the gallery's size")

    def search(
        self, queries: Queries, *, k: int = 10, exact: bool = False, where: str | None = None, threads: int = 1
    ) -> Neighbours:
        """The k nearest pictures of each query vector [Q, D] float32, by the card's metric.

        By the index, with `threads` of them, its candidates compared again as the vectors are stored; or, with
        `exact`, by comparing with every vector. `where` leaves out what an SQL condition on the shards' columns does
        not let pass; each query then gets min(k, number of passing pictures), whatever way they are found.
        Raises InputError for a k that is not in 1..len(gallery), for queries of another shape, not finite, or zero
        under cosine, ones beyond the range of a half-float index, which `exact` can answer, and for a `where` that is
        no condition.
        """
        k = self.check_k(k)
        self._check_queries(queries)
        passing = self.alive if where is None else self._passing(where)
        wanted = min(k, int(passing.sum()))
        if exact or self.index is None or wanted == 0 or self._is_few(passing):
            rows, distances = self._search_exactly(queries, passing, wanted, threads)
        else:
            rows, distances = answered_in_order(
                lambda ordered: self._search_index(ordered, passing, wanted, threads), queries
            )
        return self._neighbours(rows, distances, k)

    def _is_few(self, passing: NDArray[np.bool_]) -> bool:
        """Whether so few rows pass that comparing with all of them is the shorter way."""
        num_passing = int(passing.sum())
        return num_passing < len(self) and num_passing <= max(1, min(_EXACT_UP_TO, len(self) // 10))

    def _search_exactly(
        self, queries: Queries, passing: NDArray[np.bool_], k: int, threads: int, start: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The true k nearest among the rows from `start` on that pass: rows and distances [Q, k]."""
        if k == 0 or not len(queries):
            return np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        rows = np.flatnonzero(passing[start:]) + start
        if len(rows) * 4 < len(passing) - start:  # few: fetched one by one; many: streamed
            blocks: Iterator[NDArray[np.floating[Any]]] = (
                self.all_rows.gather(rows[first : first + _GATHERED_ROWS])
                for first in range(0, len(rows), _GATHERED_ROWS)
            )
        else:
            blocks = self._alive_blocks(passing, start)
        found, distances = search_blocks(queries, blocks, k=k, metric=self.card.metric, threads=threads)
        return rows[found], distances

    def _search_index(
        self, queries: Queries, passing: NDArray[np.bool_], k: int, threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The about k nearest by the index and among the rows younger than it, by their stored vectors: [Q, k]."""
        index, index_file = self.index, self.manifest.index
        assert index is not None
        assert index_file is not None
        covered = index_file.num_rows
        younger = int(passing[covered:].sum())
        wanted = min(k, int(passing[:covered].sum()))
        rows = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        is_left = np.ones(len(queries), bool)
        for asking, candidates in self._candidates(index, queries, passing[:covered], wanted, threads):
            if younger:
                others, _ = self._search_exactly(queries[asking], passing, min(k, younger), threads, start=covered)
                candidates = np.concatenate([candidates, others], axis=1)
            rows[asking], distances[asking], counts = rescore(
                queries[asking], candidates, self.all_rows.gather, k=k, metric=self.card.metric, threads=threads
            )
            assert (counts == k).all(), counts
            is_left[asking] = False
        if is_left.any():
            rows[is_left], distances[is_left] = self._search_exactly(queries[is_left], passing, k, threads)
        return rows, distances

    def _candidates(
        self, index: VectorIndex, queries: Queries, passing: NDArray[np.bool_], wanted: int, threads: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Numbers [q] of queries and at least `wanted` rows that pass for each, [q, c], -1 elsewhere.

        The index knows nothing of conditions, so it is asked for so many that enough will pass, and for more by those
        queries for which that did not do. Those for which it has them not are left out.
        """
        if wanted == 0:
            yield np.arange(len(queries)), np.empty((len(queries), 0), np.int64)
            return
        left = np.arange(len(queries))
        share = max(passing.mean(), 1 / len(passing))
        asked = min(len(index), int(np.ceil(oversampled(wanted, index.dtype, len(index)) / share)))
        while len(left) and wanted <= asked <= _EXACT_UP_TO:
            rows = index.candidates(queries[left], asked, threads=threads)
            passes = (rows >= 0) & passing[rows]
            is_enough = passes.sum(axis=1) >= wanted
            if is_enough.any():
                yield left[is_enough], np.where(passes, rows, -1)[is_enough]
            if asked == len(index):
                return
            left, asked = left[~is_enough], min(len(index), asked * 2)

    def _neighbours(self, rows: NDArray[np.int64], distances: NDArray[np.float32], k: int) -> Neighbours:
        """With keys for rows, and padded to [Q, k]."""
        found = rows.shape[1]
        keys = np.full((len(rows), k), -1, np.int64)
        padded = np.full((len(rows), k), np.inf, np.float32)
        keys[:, :found], padded[:, :found] = self._keys.of_rows[rows], distances
        return Neighbours(keys, padded, np.full(len(rows), found, np.int64))

    def _check_queries(self, queries: Queries) -> None:
        if not isinstance(queries, np.ndarray) or queries.ndim != 2 or queries.dtype != np.float32:
            given = (
                f"{queries.dtype} {list(queries.shape)}" if isinstance(queries, np.ndarray) else type(queries).__name__
            )
            raise InputError(f"queries must be float32 [Q, {self.card.dimension}], are {given}")
        if queries.shape[1] != self.card.dimension:
            raise InputError(f"queries have {queries.shape[1]} dimensions, the gallery's vectors {self.card.dimension}")
        if not (finite := np.isfinite(queries).all(axis=1)).all():
            raise InputError(f"queries must be finite, row {int(np.argmin(finite))} holds NaN or infinity")
        if self.card.metric == "cos" and not (nonzero := queries.any(axis=1)).all():
            raise InputError(f"queries must not be zero under cosine, row {int(np.argmin(nonzero))} is")

    def _alive_blocks(self, passing: NDArray[np.bool_], start: int = 0) -> Iterator[NDArray[np.floating[Any]]]:
        row = start
        for block in self.all_rows.blocks(start):
            is_in = passing[row : row + len(block)]
            row += len(block)
            yield block if is_in.all() else block[is_in]

    def _passing(self, where: str) -> NDArray[np.bool_]:
        """The condition over all rows, [all rows] bool; the last few are kept, since a user pages and refines."""
        known = self._matching.get(where)
        if known is None or len(known) < len(self.alive):
            known = self._evaluated(where, np.empty(0, np.bool_) if known is None else known)
            with self._remembering:
                self._matching.pop(where, None)
                while len(self._matching) >= _REMEMBERED:
                    self._matching.pop(next(iter(self._matching)))
                self._matching[where] = known
        return known & self.alive

    def _evaluated(self, where: str, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The condition over all rows, removed ones too, of which the first are `known`."""
        from semblance.gallery.filters import TIME_LIMIT_SEC, matching

        if not self.all_rows.tables:
            return matching([], where)
        limit_sec = TIME_LIMIT_SEC if self.where_limit_sec is None else self.where_limit_sec
        starts = self.all_rows.starts
        first = int(np.searchsorted(starts, len(known), side="right")) - 1  # the shard of the first unknown row
        found = matching([table.file() for table in self.all_rows.tables[first:]], where, time_limit_sec=limit_sec)
        return np.concatenate([known[: starts[first]], found])

    @cached_property
    def _keys(self) -> Keys:
        return Keys(self.all_rows.keys())

    @cached_property
    def _positions(self) -> NDArray[np.int64]:
        """The position of every row among those that count, [all rows]."""
        return np.cumsum(self.alive) - 1

    @cached_property
    def _manifest_bytes(self) -> bytes:
        return self.manifest.to_json().encode()

    def _texts(self, column: str) -> list[Any]:
        if not self.all_rows.tables:
            return []
        texts = self.all_rows.column(column).to_pylist()
        return texts if self.alive.all() else [text for text, counts in zip(texts, self.alive, strict=True) if counts]
