"""Approximate neighbours: a USearch HNSW graph, with the library's surprises kept inside this file.

In: vectors [N, D] float32; their row numbers 0..N-1 are the index's keys. Out: neighbouring rows and distances, or one
file with a checksum. USearch picks a hardware-dependent number type, accepts NaN, pads short answers with key 0,
forgets its search settings in a file and loads a damaged one without a word; here each of those is decided or refused.
"""

from __future__ import annotations

import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.errors import GalleryError, InputError
from semblance.files import Written, sha256_of, write_aside
from semblance.gallery.index_options import HALF_MAX, IndexOptions, IndexType, check_type, choose_type
from semblance.options import checked_count

if TYPE_CHECKING:
    from usearch.index import Index

# Measured, 60,000 x 64-d in 1,000 clusters, two cores, connectivity 16, expansion 128/64; recall@10 and queries/s:
#   cos    f32 .9999 18,500   f16 .9996 27,900   bf16 .9966 20,600   i8 .9481 18,000
#   l2sq   f32 .9999 18,700   f16 .9993 30,300   bf16 .9960 27,200   i8 .7707 25,300
# Half floats lose next to nothing and need half the memory; bf16 is no faster and loses ten times as much.

_FIRST_ROWS = 10_000


class VectorIndex:
    """An HNSW index over rows 0..N-1; built once, then only searched."""

    def __init__(self, index: Index, metric: Metric) -> None:
        """Wrap a USearch index; use `build` or `open`."""
        self._index = index
        self.metric = metric

    @classmethod
    def build(
        cls,
        vectors: NDArray[np.float32],
        *,
        metric: Metric,
        dtype: IndexType | None = None,
        connectivity: int = 16,
        expansion_add: int = 128,
        expansion_search: int = 64,
        threads: int = 1,
    ) -> VectorIndex:
        """Index `vectors` [N, D] float32, N at least 1; with one thread the same vectors give the same bytes.

        `dtype` None is f16 where half floats hold the vectors well, else f32. Raises InputError for vectors that are
        not finite, zero ones under "cos", ones that a given `dtype` cannot hold, and options that cannot be.
        """
        from usearch.index import Index

        options = IndexOptions(dtype, connectivity, expansion_add, expansion_search)
        _check(vectors, metric, "vectors")
        if len(vectors) == 0:
            raise InputError("there are no vectors to index; an index needs at least one")
        if options.dtype is not None:
            check_type(vectors, metric, options.dtype)
        index = Index(
            ndim=vectors.shape[1],
            metric=metric,
            dtype=options.dtype or choose_type(vectors, metric),
            connectivity=connectivity,
            expansion_add=expansion_add,
            expansion_search=expansion_search,
        )
        threads, prepared = checked_count("threads", threads), _prepared(vectors, metric)
        rows = np.arange(len(vectors), dtype=np.uint64)
        # Rows that threads insert at the same time miss each other. Measured, random 16-d vectors searched for by
        # themselves: of 300 indexes of 100 rows that two threads built 89 lost a row, of 75,000 rows in indexes of
        # 5,000 they lost 39, one thread lost 1. So the first rows, which are all of a small gallery, go in one by one.
        index.add(rows[:_FIRST_ROWS], prepared[:_FIRST_ROWS], threads=1)
        if len(rows) > _FIRST_ROWS:
            index.add(rows[_FIRST_ROWS:], prepared[_FIRST_ROWS:], threads=threads)
        return cls(index, metric)

    @classmethod
    def open(cls, path: Path, *, sha256: str, expansion_search: int = 64, mmap: bool = True) -> VectorIndex:
        """Open the file that `save` wrote, mapped or read into memory, and refuse one with another sha256.

        The checksum comes first: USearch follows whatever offsets a damaged file holds. Raises GalleryError.
        """
        from usearch.compiled import MetricKind
        from usearch.index import Index

        if not path.is_file():
            raise GalleryError(f"index {path} is missing; restore it from a copy, or embed again")
        if (found := sha256_of(path)) != sha256:
            raise GalleryError(
                f"index {path} is damaged: its sha256 begins {found[:12]}, the manifest says {sha256[:12]}; "
                "restore it from a copy, or embed again"
            )
        index = Index.restore(path, view=mmap, expansion_search=expansion_search)
        if index is None:
            raise GalleryError(f"index {path} is no USearch file; restore it from a copy, or embed again")
        return cls(index, "cos" if index.metric_kind == MetricKind.Cos else "l2sq")

    def save(self, path: Path) -> Written:
        """Write the index to `path`, whole or not at all; never over a file that is mapped, but beside and renamed.

        Raises OSError where it cannot be written.
        """

        def write(aside: Path) -> None:
            try:
                self._index.save(aside)
            except RuntimeError as error:  # all that USearch says of a full disk
                raise OSError(f"USearch: {error}") from error

        return write_aside(path, write)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def dimension(self) -> int:
        """D of its vectors."""
        return int(self._index.ndim)

    @property
    def dtype(self) -> str:
        """The number type inside: f32, f16, bf16 or i8."""
        return str(self._index.dtype.name).lower()

    @property
    def expansion_search(self) -> int:
        """How many candidates a search keeps: more find more and take longer."""
        return int(self._index.expansion_search)

    def search(
        self, queries: NDArray[np.float32], k: int, *, threads: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """The about k nearest rows of each query [Q, D] float32: rows [Q, k], distances [Q, k], counts [Q].

        Sorted by distance, then row. Where fewer than k were found, `counts` says so and the rest is row -1 at
        distance inf. Distances are those of the stored number type. Raises InputError for queries that are not
        finite, of another D, zero under "cos" or beyond the range of a half-float index under "l2sq", and for a k that
        is not in 1..N.
        """
        k = checked_k(k, len(self), "the number of vectors")
        _check(queries, self.metric, "queries")
        if queries.shape[1] != self.dimension:
            raise InputError(f"queries have {queries.shape[1]} dimensions, the index {self.dimension}")
        if len(queries) == 0:
            return np.empty((0, k), np.int64), np.empty((0, k), np.float32), np.empty(0, np.int64)
        if self.metric == "l2sq" and self.dtype == "f16" and (largest := float(np.abs(queries).max())) > HALF_MAX:
            # they would turn infinite, and everything would be as far away as everything else
            raise InputError(
                f"queries reach {largest:.3g}, the index holds half floats, which end at {HALF_MAX:.0f}; "
                "search with exact=True (--exact on the command line)"
            )
        found: Any = self._index.search(_prepared(queries, self.metric), k, threads=checked_count("threads", threads))
        counts = np.atleast_1d(np.asarray(len(found) if len(queries) == 1 else found.counts, np.int64))  # [Q]
        rows, distances = _padded(found.keys, counts, k), _padded(found.distances, counts, k)
        return *_sorted(rows.astype(np.int64), distances.astype(np.float32), counts), counts


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


def _sorted(
    rows: NDArray[np.int64], distances: NDArray[np.float32], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """By distance, then row, with the padding of our own behind."""
    is_padding = np.arange(rows.shape[1]) >= counts[:, None]
    rows = np.where(is_padding, -1, rows)
    distances = np.where(is_padding, np.float32(np.inf), distances)
    order = np.lexsort((rows, distances, is_padding), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)


def _prepared(vectors: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """Contiguous, as USearch demands; of unit length for cosine, which no narrow type then over- or underflows."""
    if metric == "cos":
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        return np.ascontiguousarray(vectors / norms, dtype=np.float32)
    return np.ascontiguousarray(vectors)


def _check(vectors: NDArray[np.float32], metric: Metric, what: str) -> None:
    if metric not in ("cos", "l2sq"):
        raise InputError(f"metric must be 'cos' or 'l2sq', is {metric!r}")
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype != np.float32:
        given = f"{vectors.dtype} {list(vectors.shape)}" if isinstance(vectors, np.ndarray) else type(vectors).__name__
        raise InputError(f"{what} must be float32 [N, D], are {given}")
    if not (finite := np.isfinite(vectors).all(axis=1)).all():
        raise InputError(f"{what} must be finite, row {int(np.argmin(finite))} holds NaN or infinity")
    if metric == "cos" and not (nonzero := vectors.any(axis=1)).all():
        raise InputError(f"{what} must not be zero under cosine, row {int(np.argmin(nonzero))} is: it has no direction")
