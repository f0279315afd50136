"""The true nearest neighbours at the speed of a matrix product: scores with a proven error, then few exact distances.

In: queries and vectors, whole or as a stream of blocks that need not fit into memory. Out: for each query the k rows
with the smallest distances, as if every distance had been computed in float64 and sorted, equal ones by the lower row.

A float32 product scores a block of vectors against a tile of queries, several tiles at once. The minima over groups of
scores cut the search short: k of them lie at or below their k-th smallest, so no score above that (plus twice the error
bound) can belong to the answer. What is left, a few rows per query, gets its distance in float64 from the vectors
themselves.
Knows nothing of images, keys or files.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.errors import InputError
from semblance.gallery.blas import blas_threads, keeping_to_one_blas_thread, one_blas_thread
from semblance.gallery.distances import CACHED_VALUES, cosine_distances, euclidean_norms, squared_distances
from semblance.options import checked_count

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]

# Measured on two cores, product and minima of 10,000 x 100,000, 64-d: threads of our own over tiles, each with its own
# product, .95 s; BLAS's threads 2.0. Rows of scores that lie a power of two apart share their places in the cache: 1.3.
# The whole search of 4,096 x 50,000, 2,048-d, in tiles of 256 x 16,384 5.5 s, of 512 4.9, of 1,024 4.9: each tile has
# BLAS rearrange the block. 784-d, k = 100: blocks of 16,384 give fewer early candidates than 8,192 (13.5 s against 15).
_QUERY_BLOCK = 512
_VECTOR_BLOCK = 16384
_APART = 16  # scores between two rows of them
_LEAST_QUERIES = 16  # worth a thread of their own
_MOST_PAIRS = 1 << 20  # of query and candidate at once: of copies of one vector all are candidates
_GROUP = 16  # scores under one minimum
_MAX_DEPTH = 4096  # products summed in one go: longer sums would widen the error bound in proportion
_UNIT = 2.0**-20  # how far norms may be off 1 for vectors to count as of unit length, which the bound then covers

_U = 2.0**-24  # unit roundoff of float32
_FLOOR = 2.0**-118  # what underflow can lose in one score; scores are scaled to be of the order of 1


def search_exact(
    queries: NDArray[np.generic],
    vectors: NDArray[np.generic],
    *,
    k: int,
    metric: Metric,
    exclude: Rows | None = None,
    query_block: int = _QUERY_BLOCK,
    vector_block: int = _VECTOR_BLOCK,
    threads: int | None = None,
) -> tuple[Rows, Floats]:
    """The k nearest of `vectors` [N, D] for each of `queries` [Q, D]: rows int64 [Q, k], distances float32 [Q, k].

    Both are float32, or of a type that float32 holds exactly (float16, uint8, int8). Distances: "l2sq" is the squared
    Euclidean distance, "cos" is 1 - cosine, where a zero vector is at distance 1 from everything, itself included.
    `exclude` [Q] int64 names one row per query to leave out (leave-one-out), -1 leaves out none. `vectors` may be a
    memory map: it is read once, in blocks. `threads` None is as many as BLAS takes; few queries are one product, which
    BLAS shares out unless `threads` is 1. No vectors, no queries or a k above what is there: InputError, except that
    zero queries give zero rows.
    """
    _check_matrix(vectors, "vectors")
    vector_block = checked_count("vector_block", vector_block)
    blocks = (vectors[start : start + vector_block] for start in range(0, len(vectors), vector_block))
    return search_blocks(queries, blocks, k=k, metric=metric, exclude=exclude, query_block=query_block, threads=threads)


def search_blocks(
    queries: NDArray[np.generic],
    blocks: Iterable[NDArray[np.generic]],
    *,
    k: int,
    metric: Metric,
    exclude: Rows | None = None,
    query_block: int = _QUERY_BLOCK,
    threads: int | None = None,
) -> tuple[Rows, Floats]:
    """`search_exact` over a stream: `blocks` [n, D] follow each other, rows count on through them.

    Each block is used once and forgotten; only the k best of each query so far are kept.
    """
    _check_matrix(queries, "queries")
    if metric not in ("cos", "l2sq"):
        raise InputError(f"metric must be 'cos' or 'l2sq', is {metric!r}")
    k, query_block = checked_count("k", k), checked_count("query_block", query_block)
    excludes = _checked_exclude(exclude, len(queries))
    threads = blas_threads() if threads is None else checked_count("threads", threads)
    share = max(_LEAST_QUERIES, -(-len(queries) // threads))
    tiles = list(_query_tiles(queries, k=k, metric=metric, exclude=exclude, size=min(query_block, share)))
    num_rows = 0
    with _Workers(threads, len(tiles)) as workers:
        for values in blocks:
            if len(values) == 0:
                continue
            block = _Block.prepare(values, num_rows, metric, queries.shape[1], k)
            num_rows += len(values)
            workers.search(tiles, block, metric)
    available = num_rows - 1 if excludes else num_rows
    if k > available:
        raise InputError(
            f"k = {k} neighbours were asked for, {available} can be found among {num_rows} vectors; lower k"
        )
    if not tiles:
        return np.empty((0, k), np.int64), np.empty((0, k), np.float32)
    with np.errstate(over="ignore"):  # a distance beyond float32 is inf; the order was decided in float64
        distances = np.concatenate([tile.distances for tile in tiles]).astype(np.float32)
    return np.concatenate([tile.rows for tile in tiles]), distances


class _Workers:
    """Threads that search tiles, each with a product and room for scores of its own; the caller's for one tile."""

    def __init__(self, threads: int, num_tiles: int) -> None:
        self._is_one = threads == 1
        self._pool = ThreadPoolExecutor(min(threads, num_tiles)) if min(threads, num_tiles) > 1 else None
        self._own = threading.local()

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def search(self, tiles: list[_Tile], block: _Block, metric: Metric) -> None:
        """Merge a block's candidates into the best rows of every tile."""
        if self._pool is None:
            with one_blas_thread() if self._is_one else nullcontext():
                for tile in tiles:
                    _search_tile(tile, block, metric, self._scratch(tile, block))
            return
        with one_blas_thread():  # the block is prepared, and read, outside
            tasks = [self._pool.submit(self._search_one, tile, block, metric) for tile in tiles]
            try:
                for task in tasks:
                    task.result()
            finally:  # also of an error or a signal: none may run on without the limit
                for task in tasks:
                    task.cancel()
                wait(tasks)

    def _search_one(self, tile: _Tile, block: _Block, metric: Metric) -> None:
        with keeping_to_one_blas_thread():
            _search_tile(tile, block, metric, self._scratch(tile, block))

    def _scratch(self, tile: _Tile, block: _Block) -> Floats:
        """Room [q, padded] for a tile's scores."""
        num, padded = len(tile.values), block.group * block.num_groups
        scratch: Floats = getattr(self._own, "scratch", np.empty(0, np.float32))
        if scratch.size < num * (padded + _APART):
            self._own.scratch = scratch = np.empty(num * (padded + _APART), np.float32)
        return scratch[: num * (padded + _APART)].reshape(num, -1)[:, :padded]


@dataclass(slots=True)
class _Tile:
    """Some queries and the best rows they have met so far."""

    values: Floats  # [q, D] as given
    scaled: Floats  # [q, D] of norm 0.5 to 1 (l2sq, by a power of two) or of unit norm (cos)
    norms: Doubles  # [q] Euclidean, of the values as given
    exponents: NDArray[np.int64]  # [q] values = scaled * 2**exponent, for l2sq
    exclude: Rows | None  # [q]
    distances: Doubles  # [q, k] ascending, inf where there is none yet
    rows: Rows  # [q, k]


@dataclass(slots=True)
class _Block:
    """Consecutive vectors, prepared for the product."""

    first_row: int
    values: Floats  # [n, D] as given
    scaled: Floats  # cos: [n, D] of unit length; l2sq: [n, D + 1], by one power of two, with squared norms behind
    norms: Doubles  # [n]
    exponent: int
    slack: float  # by how much the lengths of `scaled` are off 1, under cos
    group: int  # scores under one minimum, which lie G apart
    num_groups: int  # G; scores from n on are padding

    @classmethod
    def prepare(cls, values: NDArray[np.generic], first_row: int, metric: Metric, dimension: int, k: int) -> _Block:
        _check_matrix(values, "vectors")
        if values.shape[1] != dimension:
            raise InputError(f"queries have {dimension} dimensions, vectors {values.shape[1]}; both must be equal")
        floats = np.ascontiguousarray(values, dtype=np.float32)
        norms = euclidean_norms(floats, "vectors", first_row)
        exponent, slack = 0, 0.0
        if metric == "cos":
            off = float(np.abs(norms - 1).max())
            is_unit = off <= _UNIT
            scaled, slack = (floats, off) if is_unit else (_unit(floats, norms), 0.0)
        else:
            exponent = int(np.frexp(norms.max())[1])
            scaled = np.empty((len(floats), dimension + 1), np.float32)
            np.ldexp(floats, -exponent, out=scaled[:, :-1])
            scaled[:, -1] = np.ldexp(norms, -exponent) ** 2
        group = _GROUP
        while group > 1 and len(floats) // group < 2 * (k + 1):  # enough minima to hold k of them
            group //= 2
        return cls(first_row, floats, scaled, norms, exponent, slack, group, -(-len(floats) // group))


def _query_tiles(
    queries: NDArray[np.generic], *, k: int, metric: Metric, exclude: Rows | None, size: int
) -> Iterator[_Tile]:
    for start in range(0, len(queries), size):
        values = np.ascontiguousarray(queries[start : start + size], dtype=np.float32)
        norms = euclidean_norms(values, "queries", start)
        exponents = np.frexp(norms)[1].astype(np.int64)
        scaled = _unit(values, norms) if metric == "cos" else np.ldexp(values, -exponents[:, None])
        yield _Tile(
            values=values,
            scaled=scaled,
            norms=norms,
            exponents=exponents,
            exclude=None if exclude is None else exclude[start : start + size],
            distances=np.full((len(values), k), np.inf),
            rows=np.full((len(values), k), -1, np.int64),
        )


def _search_tile(tile: _Tile, block: _Block, metric: Metric, scores: Floats) -> None:
    """Merge a block's candidates into the best rows of a tile's queries; `scores` [q, padded] is room for theirs."""
    minima, offset, scale, bound = _scores(tile, block, metric, scores)  # [q, G]

    # 1) No answer lies above the k-th best so far, nor above what k of this block's own rows are sure to reach.
    k = tile.rows.shape[1]
    needed = k + (tile.exclude is not None)  # the row to leave out may be among the lowest
    can_reach = needed <= minima.shape[1]
    limit = np.ldexp(tile.distances[:, -1] - offset, scale) + bound  # [q], inf until there are k
    if can_reach and len(fresh := np.flatnonzero(np.isinf(limit))):
        limit[fresh] = _reached(minima[fresh], needed) + 2 * bound[fresh]
    low, query, ceiling = _low(minima, limit)
    crowded = np.flatnonzero(np.bincount(query, minlength=len(limit)) > 2 * k)
    if can_reach and len(crowded):
        reached = _reached(minima[crowded], needed) + 2 * bound[crowded]
        limit[crowded] = np.minimum(limit[crowded], reached)
        low, query, ceiling = _low(minima, limit)

    for part in _slices(np.bincount(query, minlength=len(limit)) * block.group, _MOST_PAIRS):
        first, last = np.searchsorted(query, (part.start, part.stop))
        pairs = slice(int(first), int(last))
        _take_candidates(tile, block, metric, scores, ceiling, query[pairs], low[pairs] % minima.shape[1])


def _low(minima: Floats, limit: Doubles) -> tuple[Rows, Rows, Floats]:
    """Which of `minima` [q, G], counted through, do not lie above `limit` [q], their queries, and the limit as float32:
    no lower, [q, 1]."""
    with np.errstate(over="ignore"):
        ceiling = np.nextafter(limit.astype(np.float32), np.float32(np.inf))[:, None]
    low = np.flatnonzero(minima <= ceiling)
    return low, low // minima.shape[1], ceiling


def _reached(minima: Floats, needed: int) -> Doubles:
    """What at least `needed` scores of each query do not lie above, [q], by `minima` [q, G] over groups of them.

    The exact answer is a partial sort of all; minima of these minima are few, and next to as good where far more remain
    than are needed.
    """
    num_coarse = minima.shape[1] // _GROUP
    if num_coarse >= 4 * needed:
        minima = np.minimum.reduce(minima[:, : num_coarse * _GROUP].reshape(len(minima), _GROUP, num_coarse), axis=1)
    return np.partition(minima, needed - 1, axis=1)[:, needed - 1].astype(np.float64)


def _take_candidates(
    tile: _Tile, block: _Block, metric: Metric, scores: Floats, ceiling: Floats, query: Rows, group: Rows
) -> None:
    """Merge what lies at or below the `ceiling` [q, 1] in groups [pairs] of queries [pairs], which ascend."""
    # 2) The scores at or below it are candidates.
    members = scores.reshape(len(scores), block.group, -1)[query, :, group]  # [pairs, group]: they lie G apart
    at, member = np.nonzero(members <= ceiling[query])
    query, row = query[at], member * block.num_groups + group[at]
    keep = row < len(block.values)  # no padding, which an infinite limit lets pass
    if tile.exclude is not None:
        keep &= row + block.first_row != tile.exclude[query]
    query, row = query[keep], row[keep]

    # 3) Their true distances decide.
    _merge(tile, query, row + block.first_row, _distances(tile, block, query, row, metric))


def _slices(sizes: Rows, most: int) -> Iterator[slice]:
    """Stretches of `sizes` [n] of no more than `most` together, or of one."""
    ends, start, before = np.cumsum(sizes), 0, 0
    while start < len(sizes):
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield slice(start, stop)
        start, before = stop, int(ends[stop - 1])


def _scores(
    tile: _Tile, block: _Block, metric: Metric, scores: Floats
) -> tuple[Floats, Doubles, NDArray[np.int64], Doubles]:
    """Fill in scores [q, padded] that rise with the distance: score = (distance - offset) * 2**scale, within the bound.

    Gives the minima [q, G] over groups of them, offset, scale and bound [q].

    For l2sq |v|^2 - 2 q.v is one product of [-2 q, 1] with [v, |v|^2]; for cos -q.v of unit vectors.
    Bound: n products summed in any order, fused or not, err by at most n u / (1 - n u) times the sum of their sizes
    (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1); four more roundings cover the
    scaling to unit norm or the squared norm, and 2**-50 of the largest possible distance covers float64's own. Where
    vectors are taken as of unit length that nearly are, the cosine is off by as much as their length.
    """
    dimension = tile.values.shape[1]
    num_columns = block.scaled.shape[1]
    depth = _depth(num_columns)
    num_sums = depth + -(-num_columns // depth) + 4
    gamma = num_sums * _U / (1 - num_sums * _U)
    if metric == "cos":
        left = -tile.scaled
        offset, scale = np.ones(len(left)), np.zeros(len(left), np.int64)
        bound = np.full(len(left), 1.01 * gamma + 1.01 * block.slack + dimension * 2.0**-50)
    else:
        # One power of two for each query keeps the larger of both norms near 1: no overflow, no needless underflow.
        common = np.maximum(tile.exponents, block.exponent)
        left = np.empty((len(common), dimension + 1), np.float32)
        left[:, :-1] = tile.scaled * np.ldexp(np.float32(-2), tile.exponents + block.exponent - 2 * common)[:, None]
        left[:, -1] = np.ldexp(1.0, 2 * (block.exponent - common))
        offset, scale = tile.norms**2, -2 * common
        q, v = np.ldexp(tile.norms, -common), np.ldexp(block.norms.max(), -common)
        bound = 1.01 * gamma * (2 * q * v + v * v) + dimension * 2.0**-50 * (q + v) ** 2
    _product(left, block.scaled, scores[:, : len(block.scaled)])
    scores[:, len(block.scaled) :] = np.inf
    minima = np.minimum.reduce(scores.reshape(len(left), block.group, block.num_groups), axis=1)
    return minima, offset, scale, bound + _FLOOR * (dimension + 1)


def _product(left: Floats, right: Floats, out: Floats) -> None:
    """left @ right.T, summed in stretches of at most `_MAX_DEPTH`."""
    depth = _depth(left.shape[1])
    np.matmul(left[:, :depth], right[:, :depth].T, out=out)
    for start in range(depth, left.shape[1], depth):
        out += left[:, start : start + depth] @ right[:, start : start + depth].T


def _depth(num_products: int) -> int:
    num_stretches = -(-num_products // _MAX_DEPTH)
    return -(-num_products // num_stretches)


def _distances(tile: _Tile, block: _Block, query: Rows, row: Rows, metric: Metric) -> Doubles:
    """Float64 distances [C] of pairs (query, row of the block)."""
    result = np.empty(len(query))
    step = max(1, CACHED_VALUES // tile.values.shape[1])
    for start in range(0, len(query), step):
        pairs = slice(start, start + step)
        q, r = query[pairs], row[pairs]
        left, right = tile.values[q].astype(np.float64), block.values[r].astype(np.float64)  # [c, D]
        if metric == "l2sq":
            result[pairs] = squared_distances(left, right)
        else:
            result[pairs] = cosine_distances(left, right, tile.norms[q] * block.norms[r])
    return result


def _merge(tile: _Tile, query: Rows, row: Rows, distance: Doubles) -> None:
    """Keep the k best of what a tile has and the new (query, row, distance), by distance, then row."""
    k = tile.rows.shape[1]
    is_touched = np.zeros(len(tile.rows), bool)
    is_touched[query] = True
    touched, query = np.flatnonzero(is_touched), (np.cumsum(is_touched) - 1)[query]
    query = np.concatenate([np.repeat(np.arange(len(touched)), k), query])
    row = np.concatenate([tile.rows[touched].ravel(), row])
    distance = np.concatenate([tile.distances[touched].ravel(), distance])
    order = _by_query(query, distance, row)
    starts = np.searchsorted(query[order], np.arange(len(touched)))
    best = order[starts[:, None] + np.arange(k)]  # [touched, k]: each query has its k old entries at least
    tile.rows[touched], tile.distances[touched] = row[best], distance[best]


def _by_query(query: Rows, distance: Doubles, row: Rows) -> Rows:
    """An order [C] by query, distance, then row."""
    order = np.lexsort((distance, query))
    query, distance = query[order], distance[order]
    # a third key costs as much as each of the others, and equal distances are few
    if (is_tied := (query[1:] == query[:-1]) & (distance[1:] == distance[:-1]) & (distance[1:] < np.inf)).any():
        is_in_tie = np.append(is_tied, False) | np.insert(is_tied, 0, False)
        tied = np.flatnonzero(is_in_tie)
        some = order[tied]
        order[tied] = some[np.lexsort((row[some], distance[tied], query[tied]))]
    return order


def _unit(values: Floats, norms: Doubles) -> Floats:
    """`values` [n, D] of length 1, rounded once; those of norm 0 as they are."""
    scaled = np.empty(values.shape, np.float32)
    divisors = np.where(norms == 0, 1, norms)[:, None]
    step = max(1, CACHED_VALUES // values.shape[1])
    for start in range(0, len(values), step):
        part = slice(start, start + step)
        scaled[part] = values[part] / divisors[part]  # in float64
    return scaled


def _checked_exclude(exclude: Rows | None, num: int) -> bool:
    """Whether any row is to be left out."""
    if exclude is None:
        return False
    if not isinstance(exclude, np.ndarray) or exclude.shape != (num,) or exclude.dtype != np.int64:
        given = f"{exclude.dtype} {exclude.shape}" if isinstance(exclude, np.ndarray) else type(exclude).__name__
        raise InputError(f"exclude must hold one row per query, int64 ({num},), is {given}")
    return bool((exclude >= 0).any())


def _check_matrix(values: NDArray[np.generic], what: str) -> None:
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.shape[1] == 0:
        raise InputError(f"{what} must be an array [N, D] with D at least 1, is {_described(values)}")
    if values.dtype not in (np.float32, np.float16, np.uint8, np.int8):
        raise InputError(f"{what} must be float32 (or float16, uint8, int8), are {values.dtype}; convert them")


def _described(values: object) -> str:
    return f"of shape {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
