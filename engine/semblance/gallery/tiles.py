"""Tiles of rows, prepared to be compared with each other: blocks of any sizes become pieces of one size.

In: vectors as blocks that need not fit into memory, and which of their rows count. Out: tile after tile, each with its
vectors scaled for a float32 product and with identical vectors held once, for they are the usual near-duplicates.
Knows nothing of distances but how a score of two scaled vectors can err.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.errors import InputError
from semblance.gallery.distances import CACHED_VALUES, Doubles, row_dots

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Bools = NDArray[np.bool_]
Blocks = Sequence[NDArray[np.floating[Any]]]

_TILE_ROWS = 8192
_TILE_VALUES = 1 << 23  # a tile's vectors are 32 MB at most; two tiles, each given and scaled, are held
_LEAST_ROWS = 256
_MAX_DEPTH = 512  # products summed in one go: longer sums would widen the error bound in proportion

_U = 2.0**-24  # unit roundoff of float32


@dataclass(frozen=True, slots=True)
class Tile:
    """Consecutive rows: V different vectors, prepared for the product, and the rows that each of them stands for."""

    values: Floats  # [V, D] as given
    squares: Doubles  # [V] squared norms
    scaled: Floats  # [V, D + 1]: of unit norm (cos); or of norm 1 at most, by a power of two, then lowered squares
    exponent: int  # values = scaled * 2**exponent, for l2sq
    rows: Rows  # [n] those of one vector together, in order
    starts: Rows  # [V + 1] rows[starts[v] : starts[v + 1]] are those of vector v

    @property
    def first(self) -> Rows:
        """The first row of each vector: [V]."""
        return self.rows[self.starts[:-1]]

    @property
    def counts(self) -> Rows:
        """How many rows each vector stands for: [V]."""
        return np.diff(self.starts)


class Tiles:
    """Blocks of any sizes as tiles of one size."""

    def __init__(self, blocks: Blocks, metric: Metric, alive: Bools | None) -> None:
        """Join `blocks`; rows where `alive` [N] is False are left out. Raises InputError for what they must not be."""
        if metric not in ("cos", "l2sq"):
            raise InputError(f"metric must be 'cos' or 'l2sq', is {metric!r}")
        self.metric = metric
        self._blocks = blocks
        self._dimension = 1
        self._last: tuple[int, NDArray[np.floating[Any]]] = -1, np.empty((0, 1), np.float32)
        self._starts = np.cumsum([0, *(self._checked(number) for number in range(len(blocks)))])
        self._alive = alive
        if alive is not None and (alive.dtype != np.bool_ or alive.shape != (self.num_rows,)):
            raise InputError(f"alive must be bool [{self.num_rows}], is {alive.dtype} {list(alive.shape)}")
        self._size = max(_LEAST_ROWS, min(_TILE_ROWS, _TILE_VALUES // self._dimension))

    @property
    def num_rows(self) -> int:
        """Of all blocks, those that do not count too."""
        return int(self._starts[-1])

    def __len__(self) -> int:
        return -(-self.num_rows // self._size)

    def load(self, number: int) -> Tile:
        """Read and prepare a tile."""
        first, last = number * self._size, min((number + 1) * self._size, self.num_rows)
        rows = np.arange(first, last)
        values = np.empty((len(rows), self._dimension), np.float32)
        begin = int(np.searchsorted(self._starts, first, side="right")) - 1
        for block in range(begin, int(np.searchsorted(self._starts, last, side="left"))):
            low, high = max(first, int(self._starts[block])), min(last, int(self._starts[block + 1]))
            start = int(self._starts[block])
            values[low - first : high - first] = self._block(block)[low - start : high - start]
        if self._alive is not None:
            rows, values = rows[self._alive[first:last]], values[self._alive[first:last]]
        return _prepared(rows, values, self.metric)

    def _block(self, number: int) -> NDArray[np.floating[Any]]:
        if self._last[0] != number:  # one may be read from a disk each time it is asked for
            self._last = number, self._blocks[number]
        return self._last[1]

    def _checked(self, number: int) -> int:
        """Rows of a block, if it is one."""
        block = self._block(number)
        if not isinstance(block, np.ndarray) or block.ndim != 2 or block.shape[1] == 0:
            shape = list(block.shape) if isinstance(block, np.ndarray) else type(block).__name__
            raise InputError(f"blocks must be arrays [n, D] with D at least 1, block {number} is {shape}")
        if block.dtype not in (np.float32, np.float16):
            raise InputError(f"blocks must be float32 or float16, block {number} is {block.dtype}; convert it")
        if number == 0:
            self._dimension = block.shape[1]
        if block.shape[1] != self._dimension:
            raise InputError(f"block {number} has {block.shape[1]} dimensions, those before it {self._dimension}")
        return len(block)


def _prepared(rows: Rows, values: Floats, metric: Metric) -> Tile:
    squares = _in_doubles(values, lambda part: row_dots(part, part))
    if not np.isfinite(squares).all():
        raise InputError(f"vectors must be finite, row {int(rows[~np.isfinite(squares)][0])} holds NaN or infinity")
    order, starts = _grouped(values)
    first = order[starts[:-1]]
    rows, values, squares = rows[order], values[first], squares[first]
    scaled = np.zeros((len(values), values.shape[1] + 1), np.float32)
    exponent = 0
    if metric == "cos":
        scaled[:, :-1] = values / np.sqrt(np.where(squares == 0, 1, squares))[:, None]
    else:
        exponent = int(np.frexp(np.sqrt(squares.max(initial=0)))[1])
        scaled[:, :-1] = np.ldexp(values, -exponent)
        scaled[:, -1] = (1 - gamma_of(values.shape[1])) * np.ldexp(squares, -2 * exponent)
    return Tile(values, squares, scaled, exponent, rows, starts)


def _grouped(values: Floats) -> tuple[Rows, Rows]:
    """An order [n] of vectors that puts identical ones together, groups by their first, and where groups start [G + 1].

    A few identical ones may be left apart, should their hash be that of others: they are then compared as others are.
    """
    weights = np.random.default_rng(0).standard_normal(values.shape[1])
    hashes = _in_doubles(values, lambda part: row_dots(part, np.broadcast_to(weights, part.shape)))
    order = np.argsort(hashes, kind="stable")
    is_new = np.ones(len(values), np.bool_)
    at = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]]) + 1
    is_new[at] = (values[order[at]] != values[order[at - 1]]).any(axis=1)
    begins = np.flatnonzero(is_new)
    first = np.empty(len(values), np.int64)  # of those identical with each
    first[order] = np.repeat(order[begins], np.diff(begins, append=len(order)))
    order = np.argsort(first, kind="stable")
    return order, np.append(np.flatnonzero(first[order] == order), len(order))


# ------------------------------------------------------------------------------------------------------------------


def gamma_of(dimension: int) -> float:
    """Twice the relative error of a score: four more roundings cover scaling, 2**-49 D what float64 itself loses."""
    depth = depth_of(dimension + 1)
    num_sums = depth + -(-(dimension + 1) // depth) + 4
    return 2.02 * num_sums * _U / (1 - num_sums * _U) + (dimension + 4) * 2.0**-49


def depth_of(num_products: int) -> int:
    """How many products are summed in one go."""
    return -(-num_products // -(-num_products // _MAX_DEPTH))


def _in_doubles(values: Floats, work: Callable[[Doubles], Doubles]) -> Doubles:
    """`work` of the values in float64, a cacheful at a time."""
    result = np.empty(len(values))
    step = max(1, CACHED_VALUES // values.shape[1])
    for start in range(0, len(values), step):
        result[start : start + step] = work(values[start : start + step].astype(np.float64))
    return result
