"""Approximate neighbours: a USearch HNSW graph, with the library's surprises kept inside this file.

In: vectors as blocks [n_i, D] that need not fit into memory; their row numbers are the index's keys. Out: neighbouring
rows and distances, or one file with a checksum. USearch picks a hardware-dependent number type, accepts NaN, pads short
answers with key 0, keeps the half of a batch that it refuses, forgets its search settings in a file, crashes where a
mapped index is changed and loads a damaged one without a word; here each of those is decided or refused.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.errors import GalleryError, InputError
from semblance.files import Written, sha256_of, write_aside
from semblance.gallery.codes import LARGEST, code_factor, compared_by_difference, encode, factor_of
from semblance.gallery.index_options import HALF_MAX, IndexOptions, IndexType, check_type, choose_type
from semblance.gallery.order import windows
from semblance.gallery.pieces import PIECE_ROWS, Blocks, as_blocks, check_alive, num_rows, pieces, prepared
from semblance.options import checked_count

if TYPE_CHECKING:
    from usearch.index import Index

Rows = NDArray[np.int64]
Alive = NDArray[np.bool_]

# Vectors under "cos" have length 1 here, so that their dot product says it all. USearch's own "cos" computes both norms
# for each comparison. Measured, 100,000 x 64-d: 1.8 times as long as "ip" (bf16), 3 times (f16), 1.3 times (i8).

# Measured, 60,000 x 64-d in 1,000 clusters, two cores, connectivity 16, expansion 128/64; recall@10 and queries/s:
#   cos    f32 .9999 18,500   f16 .9996 27,900   bf16 .9966 20,600   i8 .9481 18,000
#   l2sq   f32 .9999 18,700   f16 .9993 30,300   bf16 .9960 27,200   i8 .7707 25,300
# Half floats lose next to nothing and need half the memory; bf16 is no faster and loses ten times as much.

# Rows that threads insert at the same time miss each other, the more so in a small graph. Measured, random 16-d vectors
# searched for by themselves: of 300 indexes of 100 rows that two threads built 89 lost a row, so the first go in one by
# one. Of 50,000 rows two threads then lose 3 to 7, one thread none; all are found after one repair. Looking for them
# costs 7 % of the build: nearly every row is found at once by a search that keeps few candidates.
_FIRST_ROWS = 1000
_FACTOR_ROWS = 64
_CUT_TO = 1.1  # of a value that was as large as bytes hold; what is cut off more shifts a vector's neighbours
_NARROW = 4
_COPIES = 16  # of one vector that may hide a row from a search for its own
_REPAIRS = 3


class VectorIndex:
    """An HNSW index over row numbers; what is built or read into memory can grow, what is mapped is only searched."""

    def __init__(self, index: Index, metric: Metric, mapped: Path | None = None, factor: float = 1.0) -> None:
        """Wrap a USearch index, `mapped` from a file or in memory; use `build` or `open`."""
        self._index = index
        self._mapped = mapped
        self._factor = factor  # stored values are those of the vectors times this
        self._writing = threading.Lock()  # between looking for a row and adding it nobody else may add it
        self.metric = metric

    @classmethod
    def build(
        cls,
        vectors: Blocks | NDArray[np.floating],
        *,
        metric: Metric,
        alive: Alive | None = None,
        dtype: IndexType | None = None,
        connectivity: int = 16,
        expansion_add: int = 128,
        expansion_search: int = 64,
        threads: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> VectorIndex:
        """Index `vectors`, blocks [n_i, D] of N rows together, in pieces; with one thread the same give the same bytes.

        `alive` [N] leaves out rows where it is False. `dtype` None is f16 where half floats hold the vectors well, else
        f32. `progress(done, total)` is called after each piece. Raises InputError for no rows at all, vectors that are
        not finite, zero ones under "cos", ones that a given `dtype` cannot hold, and options that cannot be.
        """
        from usearch.index import Index

        options = IndexOptions(dtype, connectivity, expansion_add, expansion_search)
        if metric not in ("cos", "l2sq"):
            raise InputError(f"metric must be 'cos' or 'l2sq', is {metric!r}")
        threads, blocks = checked_count("threads", threads), as_blocks(vectors)
        check_alive(alive, total := num_rows(blocks))
        if total == 0:
            raise InputError("there are no vectors to index; an index needs at least one")
        if options.dtype is not None:
            check_type(blocks, metric, options.dtype, alive)
        dtype = options.dtype or choose_type(blocks, metric, alive)
        index = Index(
            ndim=blocks[0].shape[1],
            metric=_inside(metric, dtype, blocks[0].shape[1]),
            dtype=dtype,
            connectivity=connectivity,
            expansion_add=expansion_add,
            expansion_search=expansion_search,
        )
        built = cls(index, metric, factor=code_factor(blocks, metric, alive) if dtype == "i8" else 1.0)
        built._put(blocks, 0, alive, threads, progress)
        built.repair(blocks, alive=alive, threads=threads)
        return built

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        metric: Metric,
        sha256: str,
        factor: float | None = None,
        expansion_add: int = 128,
        expansion_search: int = 64,
        mmap: bool = True,
    ) -> VectorIndex:
        """Open the file that `save` wrote, mapped or read into memory, and refuse one with another sha256.

        The checksum comes first: USearch follows whatever offsets a damaged file holds. The expansions, `metric` and
        `factor` are the caller's to know, since no file does; a factor of None is estimated from the bytes, which takes
        vectors of which no value is exactly zero. What compares in another way than an index of this metric is refused.
        Raises GalleryError.
        """
        from usearch.index import Index

        if not path.is_file():
            raise GalleryError(f"index {path} is missing; restore it from a copy, or build it anew")
        try:
            if (found := sha256_of(path)) != sha256:
                raise GalleryError(
                    f"index {path} is damaged: its sha256 begins {found[:12]}, the manifest says {sha256[:12]}; "
                    "restore it from a copy, or build it anew"
                )
            index = Index.restore(path, view=mmap, expansion_add=expansion_add, expansion_search=expansion_search)
        except (OSError, RuntimeError, ValueError) as error:  # a writer may have taken it away meanwhile
            raise GalleryError(
                f"index {path} cannot be read ({error}); restore it from a copy, or build it anew"
            ) from error
        if index is None:
            raise GalleryError(f"index {path} is no USearch file; restore it from a copy, or build it anew")
        opened = cls(index, metric, path if mmap else None)
        library: Any = index
        kind = str(library.metric_kind.name).lower()
        if kind != _inside(metric, opened.dtype, opened.dimension):
            raise GalleryError(f"index {path} compares by {kind}, which is no index of {metric}; build it anew")
        opened._factor = factor if factor is not None and opened.dtype == "i8" else opened._found_factor()
        return opened

    def save(self, path: Path) -> Written:
        """Write the index to `path`, whole or not at all: beside it, then renamed.

        Raises OSError where it cannot be written, GalleryError where `path` is the very file that this index is mapped
        from.
        """
        if self._mapped is not None and path.exists() and self._mapped.exists() and path.samefile(self._mapped):
            raise GalleryError(f"index {path} is mapped by the index to be saved; save it under another name")

        def write(aside: Path) -> None:
            try:
                self._index.save(aside)
            except RuntimeError as error:  # all that USearch says of a full disk
                raise OSError(f"USearch: {error}") from error

        return write_aside(path, write)

    # Changing

    def add(
        self, vectors: Blocks | NDArray[np.floating], *, first_row: int, alive: Alive | None = None, threads: int = 1
    ) -> None:
        """Append blocks [n_i, D] as the rows `first_row` and on, without those where `alive` [N] is False.

        All are checked before the first is added. Raises InputError for what `build` refuses and for row numbers that
        are in the index, GalleryError where the index is mapped.
        """
        blocks, threads = as_blocks(vectors), checked_count("threads", threads)
        first_row = checked_count("first_row", first_row, least=0)
        check_alive(alive, total := num_rows(blocks))
        if total == 0:
            return
        if blocks[0].shape[1] != self.dimension:
            raise InputError(f"vectors have {blocks[0].shape[1]} dimensions, the index {self.dimension}")
        with self._writing:
            self._check_changeable()
            check_type(blocks, self.metric, self.dtype, alive)
            if self.dtype == "i8" and len(self) == 0:
                self._factor = code_factor(blocks, self.metric, alive)
            for rows, values in pieces(blocks, alive=alive, first_row=first_row):
                largest = float(np.abs(prepared(values, self.metric, "vectors", rows)).max())
                if self.dtype == "i8" and largest * self._factor > _CUT_TO * LARGEST:
                    raise InputError(
                        f"values reach {largest:.3g}, the bytes of this index {LARGEST / self._factor:.3g}, as its "
                        "first vectors decided; build it anew"
                    )
                if (known := self._contains(rows)).any():
                    row = int(rows[np.argmax(known)])
                    raise InputError(f"row {row} is in the index; remove it first, or add under other row numbers")
            self._put(blocks, first_row, alive, threads)
        self.repair(blocks, first_row=first_row, alive=alive, threads=threads)

    def remove(self, rows: Rows) -> int:
        """Take `rows` [n] int64 out of the index and say how many were in it; others are passed over.

        Their memory is used again by later rows, never given back; see `num_free`. Raises GalleryError where the index
        is mapped.
        """
        rows = np.unique(np.asarray(rows, np.int64))
        with self._writing:
            self._check_changeable()
            rows = rows[self._contains(rows)]
            if len(rows):
                self._index.remove(rows.astype(np.uint64), threads=1)
            return len(rows)

    def lost(
        self,
        vectors: Blocks | NDArray[np.floating],
        *,
        first_row: int = 0,
        alive: Alive | None = None,
        threads: int = 1,
    ) -> Rows:
        """Rows [n] that a search for their own vector does not find, of what was added from these blocks.

        One that is hidden behind copies of it counts as found. Searches meanwhile find less, since this one narrows
        them all.
        """
        with self._writing:
            return self._lost(as_blocks(vectors), first_row, alive, threads)

    def _lost(self, blocks: Blocks, first_row: int, alive: Alive | None, threads: int) -> Rows:
        """`lost` for whoever has the lock: two at once would take each other's narrow search for the usual one."""
        width, missing = self.expansion_search, []
        for rows, values in windows(blocks, self.metric, alive=alive, first_row=first_row):
            encoded = self._encoded(values)
            self._widen(_NARROW)
            try:
                is_missing = self._nearest(encoded, 1, threads)[0][:, 0] != rows
            finally:
                self._widen(width)
            missing.append(self._unfound(rows[is_missing], encoded[is_missing], threads))
        return np.sort(np.concatenate([np.empty(0, np.int64), *missing]))

    def repair(
        self,
        vectors: Blocks | NDArray[np.floating],
        *,
        first_row: int = 0,
        alive: Alive | None = None,
        threads: int = 1,
    ) -> int:
        """Put what is `lost` of these blocks in again, one by one, and say how many rows that were.

        Raises GalleryError where the index is mapped.
        """
        blocks, repaired = as_blocks(vectors), 0
        with self._writing:
            self._check_changeable()
            for _ in range(_REPAIRS):
                if len(rows := self._lost(blocks, first_row, alive, threads)) == 0:
                    break
                repaired += len(rows)
                again = np.zeros(num_rows(blocks), bool)
                again[rows - first_row] = True
                takes_others_places = self.num_free > 0
                self._index.remove(rows.astype(np.uint64), threads=1)
                self._put(blocks, first_row, again, threads=1)
                alive = alive if takes_others_places else again
        return repaired

    def _unfound(self, rows: Rows, encoded: NDArray[Any], threads: int) -> Rows:
        """Those of `rows` [n] that are not among the nearest of their own vectors, though nothing nearer is."""
        if len(rows) == 0:
            return rows
        found, distances, _ = self._nearest(encoded, _COPIES, threads)
        own = np.array([self._index.pairwise_distance(int(row), int(row)) for row in rows], np.float32)
        is_hidden: NDArray[np.bool_] = (found == rows[:, None]).any(axis=1) | (distances[:, -1] <= own)
        return rows[~is_hidden]

    def _widen(self, expansion: int) -> None:
        index: Any = self._index  # USearch's annotations forget the setter
        index.expansion_search = expansion

    def _put(
        self,
        blocks: Blocks,
        first_row: int,
        alive: Alive | None,
        threads: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Add the living rows of blocks that are checked; the first of an index one by one."""
        total, done = check_alive(alive, num_rows(blocks)), 0
        is_new = len(self) < _FIRST_ROWS
        for rows, vectors in windows(blocks, self.metric, alive=alive, first_row=first_row, is_first_short=is_new):
            for start in range(0, len(rows), PIECE_ROWS):
                part = slice(start, start + PIECE_ROWS)
                together = threads if len(self) >= _FIRST_ROWS else 1
                self._index.add(rows[part].astype(np.uint64), self._encoded(vectors[part]), threads=together)
                done += len(rows[part])
                if progress is not None:
                    progress(done, total)

    def _contains(self, rows: Rows) -> NDArray[np.bool_]:
        """Which of `rows` [n] are in the index; a negative one is none of its keys, whatever it wraps to."""
        if len(rows) == 0:
            return np.zeros(0, bool)
        return np.asarray(self._index.contains(rows.astype(np.uint64)), bool) & (rows >= 0)

    def _check_changeable(self) -> None:
        if self._mapped is not None:
            raise GalleryError(f"index {self._mapped} is mapped and can only be searched; open it with mmap=False")

    def contains(self, rows: Rows) -> NDArray[np.bool_]:
        """Which of `rows` [n] int64 are in the index, [n] bool."""
        return self._contains(np.asarray(rows, np.int64))

    def holds(self, rows: Rows, vectors: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether `rows` [n], which are in the index, have these `vectors` [n, D] there, but for what their number type
        rounds: [n] bool. Tells an index of other vectors from this one's own, not a flipped bit.
        """
        if len(rows) == 0:
            return np.zeros(0, bool)
        stored = self._codes(rows) / self._factor
        given = vectors.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):  # zero, or not finite: like none that an index holds
            if self.metric == "cos":
                stored, given = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (stored, given))
            off = np.linalg.norm(stored - given, axis=1) / np.maximum(np.linalg.norm(given, axis=1), 1e-30)
        close: NDArray[np.bool_] = off <= (0.3 if self.dtype == "i8" else 0.02)
        return close

    # Facts

    def __len__(self) -> int:
        return len(self._index)

    @property
    def dimension(self) -> int:
        """D of its vectors."""
        return int(self._index.ndim)

    @property
    def dtype(self) -> IndexType:
        """The number type inside: f32, f16, bf16 or i8."""
        return cast(IndexType, str(self._index.dtype.name).lower())

    @property
    def factor(self) -> float | None:
        """What vectors are multiplied by before they become bytes; None where they do not."""
        return self._factor if self.dtype == "i8" else None

    @property
    def connectivity(self) -> int:
        """How many neighbours each vector is linked to."""
        return int(self._index.connectivity)

    @property
    def expansion_add(self) -> int:
        """How many candidates adding keeps: more give a better graph and take longer."""
        return int(self._index.expansion_add)

    @property
    def expansion_search(self) -> int:
        """How many candidates a search keeps: more find more and take longer."""
        return int(self._index.expansion_search)

    @property
    def num_free(self) -> int:
        """Places of removed rows, which the next rows take.

        What was linked to through such a place alone is lost then: after an `add` that took some, `repair` all rows.
        """
        return int(self._index.stats.nodes) - len(self)

    @property
    def memory_bytes(self) -> int:
        """What the index holds in memory, and the file that it is mapped from, which the system may hold or drop."""
        mapped = 0 if self._mapped is None else int(self._index.serialized_length)
        return int(self._index.memory_usage) + mapped

    # Searching

    def search(
        self, queries: NDArray[np.float32], k: int, *, threads: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """The about k nearest rows of each query [Q, D] float32: rows [Q, k], distances [Q, k], counts [Q].

        Sorted by distance, then row; many queries are answered faster by `answered_in_order`. Where fewer than k were
        found, `counts` says so and the rest is row -1 at distance inf. Distances are those of the stored number type.
        Raises InputError for queries that are not finite, of another D, zero under "cos" or beyond the range of a
        half-float index under "l2sq", and for a k that is not in 1..N.
        """
        vectors, k, threads = self._checked_queries(queries, k, threads)
        if len(queries) == 0 or len(self) == 0:
            shape = (len(queries), k)
            return np.full(shape, -1, np.int64), np.full(shape, np.inf, np.float32), np.zeros(len(queries), np.int64)
        rows, distances, counts = self._nearest(self._encoded(vectors), k, threads)
        return rows, self._as_distances(distances), counts

    def candidates(self, queries: NDArray[np.float32], k: int, *, threads: int = 1) -> Rows:
        """The rows [Q, k] that `search` finds, in no order, for whoever compares them again; -1 where it found none.

        Raises what `search` raises.
        """
        vectors, k, threads = self._checked_queries(queries, k, threads)
        if len(queries) == 0 or len(self) == 0:
            return np.full((len(queries), k), -1, np.int64)
        return self._found(self._encoded(vectors), k, threads)[0]

    def _checked_queries(
        self, queries: NDArray[np.float32], k: int, threads: int
    ) -> tuple[NDArray[np.float32], int, int]:
        """What `search` is given, prepared; raises what it refuses."""
        k = checked_k(k, len(self), "the number of vectors") if len(self) else checked_count("k", k)
        (queries,) = as_blocks([queries], "queries")
        if queries.shape[1] != self.dimension:
            raise InputError(f"queries have {queries.shape[1]} dimensions, the index {self.dimension}")
        vectors = prepared(np.asarray(queries, np.float32), self.metric, "queries")
        is_half = len(queries) and self.metric == "l2sq" and self.dtype == "f16"
        if is_half and (largest := _largest(vectors)) > HALF_MAX:
            # they would turn infinite, and everything would be as far away as everything else
            raise InputError(
                f"queries reach {largest:.3g}, the index holds half floats, which end at {HALF_MAX:.0f}; "
                "search with exact=True (--exact on the command line)"
            )
        return vectors, k, checked_count("threads", threads)

    def _as_distances(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """What USearch computes of the stored values, as distances of the vectors."""
        if self._factor == 1.0:
            return found
        square = np.float32(self._factor**2)
        if self.metric == "l2sq":
            return found / square
        if _inside(self.metric, self.dtype, self.dimension) == "l2sq":
            return found / (2 * square)  # of unit vectors half the squared distance is 1 - cosine
        return 1 - (1 - found) / square

    def _nearest(
        self, encoded: NDArray[Any], k: int, threads: int
    ) -> tuple[Rows, NDArray[np.float32], NDArray[np.int64]]:
        """`search` for vectors [Q, D] that are checked and encoded, Q at least 1."""
        rows, distances, counts = self._found(encoded, k, threads)
        return *_sorted(rows, distances, counts), counts

    def _found(
        self, encoded: NDArray[Any], k: int, threads: int
    ) -> tuple[Rows, NDArray[np.float32], NDArray[np.int64]]:
        """Rows [Q, k], their distances as USearch has them, and counts [Q]; behind these rows are -1 at inf."""
        # USearch starts its threads anew for each call, which takes longer than one query
        found: Any = self._index.search(encoded, k, threads=min(threads, len(encoded)))
        counts = np.atleast_1d(np.asarray(len(found) if len(encoded) == 1 else found.counts, np.int64))  # [Q]
        return *_repadded(_padded(found.keys, counts, k), _padded(found.distances, counts, k), counts), counts

    def _encoded(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        """Prepared vectors [n, D] as USearch is given them."""
        return encode(vectors, self._factor) if self.dtype == "i8" else vectors

    def _codes(self, rows: Rows) -> NDArray[np.float64]:
        """The values [n, D] that are stored for `rows` [n], which are in the index."""
        kind = "i8" if self.dtype == "i8" else "f32"
        found = self._index.get(rows.astype(np.uint64), kind)
        return np.asarray(found, np.float64).reshape(len(rows), self.dimension)

    def _found_factor(self) -> float:
        """The factor of a file's codes, which stands nowhere: of vectors of length 1 their lengths tell it."""
        if self.dtype != "i8" or len(self) == 0:
            return 1.0
        some: Any = self._index.keys[: min(len(self), _FACTOR_ROWS)]
        return factor_of(self._codes(np.asarray(some).astype(np.int64)).astype(np.int8))


def _inside(metric: Metric, dtype: IndexType, dimension: int) -> str:
    """The name of USearch's metric for vectors that are prepared."""
    if metric == "l2sq" or (dtype == "i8" and compared_by_difference(metric, dimension)):
        return "l2sq"
    return "ip"


def checked_k(k: int, largest: int, what: str) -> int:
    """A number of neighbours as an int: of any integer type, in 1..`largest`, which is `what`. Raises InputError."""
    try:
        number = operator.index(k)
    except TypeError:
        number = 0
    if isinstance(k, bool) or not 1 <= number <= largest:
        raise InputError(
            f"k must be an integer in 1..{largest}, {what}, is {k!r}; give a k in that range (-k on the command line)"
        )
    return number


def _padded(values: NDArray[Any], counts: NDArray[np.int64], k: int) -> NDArray[Any]:
    """USearch answers one query with a flat array of what it found, several with [Q, k] padded by key 0 and NaN."""
    if values.ndim == 2:
        return values
    padded = np.zeros((1, k), values.dtype)
    padded[0, : counts[0]] = values
    return padded


def _repadded(
    keys: NDArray[Any], distances: NDArray[Any], counts: NDArray[np.int64]
) -> tuple[Rows, NDArray[np.float32]]:
    """Keys as rows and distances [Q, k], with padding of our own behind what was found: row -1 at distance inf."""
    rows, distances = keys.astype(np.int64), distances.astype(np.float32)
    if (counts < rows.shape[1]).any():
        is_padding = np.arange(rows.shape[1]) >= counts[:, None]
        rows[is_padding], distances[is_padding] = -1, np.inf
    return rows, distances


def _sorted(
    rows: NDArray[np.int64], distances: NDArray[np.float32], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """By distance, then row, with the padding behind."""
    is_padding = np.arange(rows.shape[1]) >= counts[:, None]
    # USearch sorts by distance alone, so that few answers need it
    touched = np.flatnonzero(~(distances[:, 1:] > distances[:, :-1]).all(axis=1))
    if len(touched):
        order = np.lexsort((rows[touched], distances[touched], is_padding[touched]), axis=1)
        in_order = (touched[:, None], order)
        rows[touched], distances[touched] = rows[in_order], distances[in_order]
    return rows, distances


def _largest(vectors: NDArray[np.float32]) -> float:
    return max(float(vectors.max()), -float(vectors.min()))
