"""All pairs of rows that lie near each other, at the speed of a matrix product and in memory that does not grow.

In: vectors as blocks that need not fit into memory, a metric and a distance. Out: each pair at that distance or
nearer, as if every distance had been computed in float64. A float32 product scores strips of one tile of rows against
another tile; pairs whose score, with its error bound, cannot be near enough are done with, and the few that are left
get their distance in float64 from the vectors themselves. Identical vectors, the usual near-duplicates, are compared
once for all of them. Every row is compared with every other: time grows with the square of their number. Measured on
two cores, 100,000 rows of 64 dimensions take 15 s and of 768 take 68 s, so a million would take 25 and 115 minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from semblance.card import Metric
from semblance.errors import InputError
from semblance.gallery.distances import CACHED_VALUES, Doubles, cosine_distances, squared_distances
from semblance.gallery.tiles import (
    Blocks,
    Bools,
    Floats,
    Rows,
    Tile,
    Tiles,
    depth_of,
    gamma_of,
)

Pairs = tuple[Rows, Rows, Floats]
Progress = Callable[[int, int], None]
Wanted = Callable[[Rows, Rows, Doubles], Bools]

_STRIP_ROWS = 256  # with them a strip's scores are 8 MB
_SETTLED = 1 << 15  # pairs that get their distance at once
_YIELDED = 1 << 20  # pairs that are handed on at once, where one of vectors stands for many of rows

_FLOOR = 2.0**-118  # what underflow can lose in one score; scores are scaled to be of the order of 1


def near_pairs(
    blocks: Blocks,
    *,
    metric: Metric,
    distance: float,
    alive: Bools | None = None,
    progress: Progress | None = None,
) -> Iterator[Pairs]:
    """Every pair of rows at `distance` or nearer: rows_a [n] int64, rows_b [n] int64, distances [n] float32, in pieces.

    `blocks` [n_i, D], float32 or float16, follow each other, rows count on through them; a block may be a memory map,
    it is read in parts and often. Distances: "l2sq" is the squared Euclidean distance, "cos" is 1 - cosine, where a
    zero vector is at distance 1 from everything, its own copies included. Rows where `alive` [N] is False are left
    out. Each pair comes once, with a < b; the pieces are ordered by the tile of rows that a lies in, then by b's, and
    the same input gives the same pieces. `progress(done, total)` is called with the pairs of tiles that are done.
    Raises InputError for values that are not finite, blocks of several dimensions, and a distance that is negative.
    """
    tiles = Tiles(blocks, metric, alive)
    return _all_pairs(tiles, checked_distance(distance), progress, None)


def spanning_pairs(
    blocks: Blocks,
    *,
    metric: Metric,
    distance: float,
    wanted: Wanted,
    alive: Bools | None = None,
    progress: Progress | None = None,
) -> Iterator[Pairs]:
    """Those of `near_pairs` that are `wanted`, with the first of identical rows standing for all of them.

    `wanted(rows_a [n], rows_b [n], least [n])` says which pairs are, asked before their distance, at least `least`, is
    computed, and after the pairs before them were handed on. Copies come as pairs with the first of them, unasked.
    """
    tiles = Tiles(blocks, metric, alive)
    return _all_pairs(tiles, checked_distance(distance), progress, wanted)


def _all_pairs(tiles: Tiles, distance: float, progress: Progress | None, wanted: Wanted | None) -> Iterator[Pairs]:
    total = len(tiles) * (len(tiles) + 1) // 2
    done = 0
    for number in range(len(tiles)):
        left = tiles.load(number)
        for other in range(number, len(tiles)):
            right = left if other == number else tiles.load(other)
            if right is left:
                yield from _copies(left, tiles.metric, distance, is_spanning=wanted is not None)
            for a, b, found in _near(left, right, tiles.metric, distance, wanted):
                yield from _rows_of(left, a, right, b, found, is_spanning=wanted is not None)
            done += 1
            if progress is not None:
                progress(done, total)


# Pairs of vectors ---------------------------------------------------------------------------------------------------


def _near(
    left: Tile, right: Tile, metric: Metric, distance: float, wanted: Wanted | None
) -> Iterator[tuple[Rows, Rows, Doubles]]:
    """Pairs (vector of `left`, vector of `right`) at `distance` or nearer, and their distances; of one tile, a < b."""
    scratch = np.empty(min(_STRIP_ROWS, len(left.values)) * len(right.values), np.float32)
    for start in range(0, len(left.values), _STRIP_ROWS):
        stop = min(start + _STRIP_ROWS, len(left.values))
        skipped = start if left is right else 0
        out = scratch[: (stop - start) * (len(right.values) - skipped)].reshape(stop - start, -1)
        base, scale = _score(left, slice(start, stop), right, skipped, metric, out)
        # Rounded to float64 a distance may be smaller than it is, by so much that the limit below must be greater.
        with np.errstate(over="ignore"):
            limit = np.ldexp(distance * (1 + (left.values.shape[1] + 4) * 2.0**-52), scale)
            ceiling = np.nextafter((limit - base).astype(np.float32), np.float32(np.inf))
        is_close = out <= ceiling[:, None]  # [s, V]
        if left is right:
            is_close[:, : stop - start] = np.triu(is_close[:, : stop - start], 1)
        at = np.flatnonzero(is_close)
        if wanted is not None:
            at = _first_of_each(at, out.shape[1])
        for piece in range(0, len(at), _SETTLED):
            strip_row, column = np.divmod(at[piece : piece + _SETTLED], out.shape[1])
            a, b = strip_row + start, column + skipped
            if wanted is not None:
                least = np.ldexp(out[strip_row, column] + base[strip_row], -scale) * (1 - 2.0**-30)
                is_wanted = wanted(left.first[a], right.first[b], least)
                a, b = a[is_wanted], b[is_wanted]
            found = _distances(left, a, right, b, metric)
            keep = found <= distance
            if keep.any():
                yield a[keep], b[keep], found[keep]


def _first_of_each(at: Rows, width: int) -> Rows:
    """The same places in a matrix of this width, but first the first of each row: they may make the others needless."""
    row = at // width
    is_first = np.append(True, row[1:] != row[:-1])[: len(at)]
    return np.concatenate([at[is_first], at[~is_first]])


def _score(left: Tile, strip: slice, right: Tile, skipped: int, metric: Metric, out: Floats) -> tuple[Doubles, int]:
    """Fill `out` [s, V] with scores such that distance * 2**scale >= score + base, for base [s] and scale.

    For l2sq the product of [-2 q, 1] with [v, (1 - g) |v|^2], base (1 - g) |q|^2; for cos -q.v of unit vectors, base
    1 - g. n products summed in any order, fused or not, err by at most n u / (1 - n u) times the sum of their sizes
    (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1): for l2sq |v|^2 + 2 |q| |v|, which is
    at most 2 (|q|^2 + |v|^2), so half of g bounds it, whatever the norms of the other rows are.
    """
    values = left.scaled[strip]
    factors = np.empty(values.shape, np.float32)
    gamma, underflow = gamma_of(values.shape[1] - 1), _FLOOR * values.shape[1]
    if metric == "cos":
        scale = 0
        factors[:, :-1], factors[:, -1] = -values[:, :-1], 0
        base = np.full(len(values), 1 - gamma - underflow)
    else:
        # One power of two for both keeps the larger of all norms near 1: no overflow, no needless underflow
        common = max(left.exponent, right.exponent)
        scale = -2 * common
        factors[:, :-1] = values[:, :-1] * np.ldexp(np.float32(-2), left.exponent + right.exponent + scale)
        factors[:, -1] = np.ldexp(np.float32(1), 2 * right.exponent + scale)
        base = (1 - gamma) * np.ldexp(left.squares[strip], scale) - underflow
    depth = depth_of(values.shape[1])
    vectors = right.scaled[skipped:]
    np.matmul(factors[:, :depth], vectors[:, :depth].T, out=out)
    for start in range(depth, values.shape[1], depth):
        out += factors[:, start : start + depth] @ vectors[:, start : start + depth].T
    return base, scale


def _distances(left: Tile, a: Rows, right: Tile, b: Rows, metric: Metric) -> Doubles:
    """Float64 distances [n] of pairs of vectors; those of identical ones are 0 to the bit, unless zero under cos."""
    result = np.empty(len(a))
    step = max(1, CACHED_VALUES // left.values.shape[1])
    for start in range(0, len(a), step):
        i, j = a[start : start + step], b[start : start + step]
        one, other = left.values[i].astype(np.float64), right.values[j].astype(np.float64)  # [c, D]
        if metric == "l2sq":
            result[start : start + step] = squared_distances(one, other)
        else:  # the root of a square is exact, and so the distance of identical vectors
            norms = np.sqrt(left.squares[i] * right.squares[j])
            result[start : start + step] = cosine_distances(one, other, norms)
    return result


# Pairs of rows ------------------------------------------------------------------------------------------------------


def _rows_of(left: Tile, a: Rows, right: Tile, b: Rows, distances: Doubles, *, is_spanning: bool) -> Iterator[Pairs]:
    """Every row of vectors `a` with every row of vectors `b`; or, if spanning, the first of each."""
    rounded = _rounded(distances)
    if is_spanning or (len(left.rows) == len(left.values) and len(right.rows) == len(right.values)):
        one, other = left.first[a], right.first[b]
        yield np.minimum(one, other), np.maximum(one, other), rounded
        return
    num_a, num_b = left.counts[a], right.counts[b]
    for which, offset in _enumerated(num_a * num_b):
        i, j = np.divmod(offset, num_b[which])
        one, other = left.rows[left.starts[a[which]] + i], right.rows[right.starts[b[which]] + j]
        yield np.minimum(one, other), np.maximum(one, other), rounded[which]


def _copies(tile: Tile, metric: Metric, distance: float, *, is_spanning: bool) -> Iterator[Pairs]:
    """Every pair of rows with one vector; or, if spanning, each row with the first of them."""
    itself = (tile.squares == 0).astype(np.float64) if metric == "cos" else np.zeros(len(tile.values))
    vector = np.repeat(np.arange(len(tile.values)), tile.counts)  # [n]
    position = np.arange(len(tile.rows))
    num_after = tile.starts[vector + 1] - position - 1
    num_after[itself[vector] > distance] = 0
    if is_spanning:
        num_after[position != tile.starts[vector]] = 0
    for which, offset in _enumerated(num_after):
        yield tile.rows[which], tile.rows[which + 1 + offset], _rounded(itself)[vector[which]]


def _enumerated(counts: Rows) -> Iterator[tuple[Rows, Rows]]:
    """All (i, j) with j < counts[i], in order, in pieces."""
    ends = np.cumsum(counts)
    begins = ends - counts
    for low in range(0, int(counts.sum()), _YIELDED):
        high = min(low + _YIELDED, int(ends[-1]))
        first, last = np.searchsorted(ends, [low, high - 1], side="right")
        span = np.arange(first, last + 1)
        which = np.repeat(span, np.minimum(ends[span], high) - np.maximum(begins[span], low))
        yield which, np.arange(low, high) - begins[which]


def _rounded(distances: Doubles) -> Floats:
    with np.errstate(over="ignore"):  # beyond float32 is inf
        return distances.astype(np.float32)


def checked_distance(distance: float) -> float:
    """`distance` as a float, if it is a finite number of at least 0; else InputError."""
    if isinstance(distance, bool) or not isinstance(distance, (int, float, np.number)) or not 0 <= distance < math.inf:
        raise InputError(f"distance must be a finite number of at least 0, is {distance!r}")
    return float(distance)
