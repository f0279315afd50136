"""The true nearest neighbours at the speed of a matrix product: scores with a proven error, then few exact distances.

In: queries and vectors, whole or as a stream of blocks that need not fit into memory. Out: for each query the k rows
with the smallest distances, as if every distance had been computed in float64 and sorted, equal ones by the lower row.

A product scores a block of vectors against a tile of queries, several tiles at once: of bytes where there are many
queries and they tell neighbours apart, else of float32. Either has a proven error. The minima over groups of scores cut
the search short: k of them lie at or below their k-th smallest, so no score above that (plus twice the error bound) can
belong to the answer. What is left, a few rows per query, gets its distance in float64 from the vectors themselves.
Knows nothing of images, keys or files.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.errors import InputError
from semblance.gallery.blas import blas_threads, keeping_to_one_blas_thread, one_blas_thread
from semblance.gallery.codes_product import codes_product
from semblance.gallery.distances import CACHED_VALUES, cosine_distances, squared_distances
from semblance.gallery.pieces import stretches
from semblance.gallery.scoring import (
    APART,
    GROUP,
    Block,
    Scores,
    Tile,
    check_matrix,
    code_scores,
    float_scores,
    pair_scores,
    query_tiles,
)
from semblance.options import checked_count

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]
T = TypeVar("T")
R = TypeVar("R")

# Measured on two cores, product and minima of 10,000 x 100,000, 64-d: threads of our own over tiles, each with its own
# product, .95 s; BLAS's threads 2.0. Rows of scores that lie a power of two apart share their places in the cache: 1.3.
# The whole search of 4,096 x 50,000, 2,048-d, in tiles of 256 x 16,384 5.5 s, of 512 4.9, of 1,024 4.9: each tile has
# BLAS rearrange the block. 784-d, k = 100: blocks of 16,384 give fewer early candidates than 8,192 (13.5 s against 15).
_QUERY_BLOCK = 512
_VECTOR_BLOCK = 16384
_LEAST_QUERIES = 16  # worth a thread of their own
_MOST_PAIRS = 1 << 20  # of query and candidate at once: of copies of one vector all are candidates
# By bytes where that pays and finds something: to make them costs as much as the product saves over a few hundred
# queries, and where many vectors are candidates, as random ones are, their exact distances would cost more
_CODED_FROM = 1024  # queries
_MOST_LOW = 1 / 4  # of the groups
_MOST_CANDIDATES = 16  # times k, in one block


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
    check_matrix(vectors, "vectors")
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
    check_matrix(queries, "queries")
    if metric not in ("cos", "l2sq"):
        raise InputError(f"metric must be 'cos' or 'l2sq', is {metric!r}")
    k, query_block = checked_count("k", k), checked_count("query_block", query_block)
    excludes = _checked_exclude(exclude, len(queries))
    threads = blas_threads() if threads is None else checked_count("threads", threads)
    share = max(_LEAST_QUERIES, -(-len(queries) // threads))
    tiles = list(query_tiles(queries, k=k, metric=metric, exclude=exclude, size=min(query_block, share)))
    num_rows = 0
    with _Workers(threads, len(tiles), *queries.shape) as workers:
        for values in blocks:
            if len(values) == 0:
                continue
            block = Block.prepare(values, num_rows, metric, queries.shape[1], k)
            num_rows += len(values)
            workers.search(tiles, block, metric)
            del block  # not held while the next is prepared
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

    def __init__(self, threads: int, num_tiles: int, num_queries: int, dimension: int) -> None:
        self._is_one = threads == 1
        self._pool = ThreadPoolExecutor(min(threads, num_tiles)) if min(threads, num_tiles) > 1 else None
        self._own = threading.local()
        self._codes = codes_product(dimension) if num_queries >= _CODED_FROM else None

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def search(self, tiles: list[Tile], block: Block, metric: Metric) -> None:
        """Merge a block's candidates into the best rows of every tile."""
        with one_blas_thread() if self._pool is not None or self._is_one else nullcontext():  # read outside
            if self._codes is not None:
                block.encode(metric, self._all)
            for _ in self._all(lambda tile: self._search_tile(tile, block, metric), tiles):
                pass

    def _all(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """`work` of each item, in order, in threads where there are any."""
        if self._pool is None:
            yield from map(work, items)
            return
        tasks = [self._pool.submit(_with_one_blas_thread, work, item) for item in items]
        try:
            for task in tasks:
                yield task.result()
        finally:  # also of an error or a signal: none may run on without the limit
            for task in tasks:
                task.cancel()
            wait(tasks)

    def _search_tile(self, tile: Tile, block: Block, metric: Metric) -> None:
        room = self._room(tile, block)
        if (product := self._codes) is not None:
            scores = code_scores(tile, block, metric, room, product)
            if scores is not None and _take(tile, block, metric, scores, is_picky=True):
                return
            if scores is not None:
                self._codes = None  # one tile's vectors are like another's
        _take(tile, block, metric, float_scores(tile, block, metric, room))

    def _room(self, tile: Tile, block: Block) -> Floats:
        """Room for a tile's scores."""
        padded = block.group * block.num_groups + APART
        size = len(tile.values) * max(padded, 0 if block.codes is None else len(block.codes.bytes))
        room: Floats = getattr(self._own, "room", np.empty(0, np.float32))
        if room.size < size:
            self._own.room = room = np.empty(size, np.float32)
        return room


def _with_one_blas_thread(work: Callable[[T], R], item: T) -> R:
    with keeping_to_one_blas_thread():
        return work(item)


def _take(tile: Tile, block: Block, metric: Metric, scores: Scores, *, is_picky: bool = False) -> bool:
    """Merge a block's candidates into the best rows of a tile's queries; where it `is_picky` only if they are few, else
    False, and nothing is done.
    """
    minima, bound = scores.minima, scores.bound  # [q, G], [q]

    # 1) No answer lies above the k-th best so far, nor above what k of this block's own rows are sure to reach.
    k = tile.rows.shape[1]
    needed = k + (tile.exclude is not None)  # the row to leave out may be among the lowest
    can_reach = needed <= minima.shape[1]
    limit = np.ldexp(tile.distances[:, -1] - scores.offset, scores.scale) + bound  # [q], inf until there are k
    if can_reach and len(fresh := np.flatnonzero(np.isinf(limit))):
        limit[fresh] = _reached(minima[fresh], needed) + 2 * bound[fresh]
    low, query, ceiling = _low(minima, limit)
    crowded = np.flatnonzero(np.bincount(query, minlength=len(limit)) > 2 * k)
    if can_reach and len(crowded):
        reached = _reached(minima[crowded], needed) + 2 * bound[crowded]
        limit[crowded] = np.minimum(limit[crowded], reached)
        low, query, ceiling = _low(minima, limit)
    is_by_codes = is_picky
    if is_picky and len(low) > _MOST_LOW * minima.size:
        return False

    # 2) The scores at or below it are candidates, 3) and their true distances decide.
    for part in stretches(np.bincount(query, minlength=len(limit)) * block.group, _MOST_PAIRS):
        first, last = np.searchsorted(query, (part.start, part.stop))
        pairs = slice(int(first), int(last))
        found, row = _candidates(tile, block, scores, ceiling, query[pairs], low[pairs] % minima.shape[1])
        is_many = len(row) > 2 * k * (part.stop - part.start)
        if is_picky and len(row) > _MOST_CANDIDATES * k * (part.stop - part.start):
            return False
        if is_by_codes and is_many:
            found, row = _nearer(tile, block, metric, scores, found, row)
        is_picky = False
        _merge(tile, found, row + block.first_row, _distances(tile, block, found, row, metric))
    return True


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
    num_coarse = minima.shape[1] // GROUP
    if num_coarse >= 4 * needed:
        minima = np.minimum.reduce(minima[:, : num_coarse * GROUP].reshape(len(minima), GROUP, num_coarse), axis=1)
    return np.partition(minima, needed - 1, axis=1)[:, needed - 1].astype(np.float64)


def _candidates(
    tile: Tile, block: Block, scores: Scores, ceiling: Floats, query: Rows, group: Rows
) -> tuple[Rows, Rows]:
    """Queries and rows of the block [C] of what lies at or below the `ceiling` [q, 1] in groups [pairs] of queries
    [pairs], which ascend.
    """
    at, member = np.nonzero(scores.members(query, group) <= ceiling[query])  # of [pairs, members]
    query, row = query[at], scores.rows(group[at], member)
    keep = row < len(block.values)  # no padding, which an infinite limit lets pass
    if tile.exclude is not None:
        keep &= row + block.first_row != tile.exclude[query]
    return query[keep], row[keep]


def _nearer(tile: Tile, block: Block, metric: Metric, scores: Scores, query: Rows, row: Rows) -> tuple[Rows, Rows]:
    """Those of pairs (query, row of the block) [C], by query, that a float32 product of each leaves: its bound is
    narrower than that of bytes.
    """
    score, bound = pair_scores(tile, block, metric, query, row)
    needed = tile.rows.shape[1]
    limit = np.ldexp(tile.distances[:, -1] - scores.offset, scores.scale) + bound  # [q]
    order = np.lexsort((score, query))
    starts, ends = np.searchsorted(query, [np.arange(len(limit)), np.arange(1, len(limit) + 1)])
    enough = np.flatnonzero(ends - starts >= needed)
    reached = score[order[starts[enough] + needed - 1]] + 2 * bound
    limit[enough] = np.minimum(limit[enough], reached)
    keep = score <= limit[query]
    return query[keep], row[keep]


def _distances(tile: Tile, block: Block, query: Rows, row: Rows, metric: Metric) -> Doubles:
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


def _merge(tile: Tile, query: Rows, row: Rows, distance: Doubles) -> None:
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


def _checked_exclude(exclude: Rows | None, num: int) -> bool:
    """Whether any row is to be left out."""
    if exclude is None:
        return False
    if not isinstance(exclude, np.ndarray) or exclude.shape != (num,) or exclude.dtype != np.int64:
        given = f"{exclude.dtype} {exclude.shape}" if isinstance(exclude, np.ndarray) else type(exclude).__name__
        raise InputError(f"exclude must hold one row per query, int64 ({num},), is {given}")
    return bool((exclude >= 0).any())
