"""Vectors that need not fit into memory, a bounded piece at a time: checked, and as the index takes them.

In: blocks [n_i, D] of float32 or float16, mostly memory maps; rows count on through them. Out: pieces of at most 4,096
rows in float32 with their row numbers, so that nothing is ever held whole. A value that no distance can be computed
from is refused with its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.errors import InputError

Blocks = Sequence[NDArray[np.floating]]  # [n_i, D] each, float32 or float16; may be iterated several times
Piece = tuple[NDArray[np.int64], NDArray[np.float32]]  # rows [n], vectors [n, D]

PIECE_ROWS = 4096  # 32 MB at 2,048-d

# Squared float32 norms in this range have lost nothing to underflow and are far from overflow, so that one cheap
# product per row proves it finite, not zero, and safe to divide by its norm in float32.
_SQUARE_MIN, _SQUARE_MAX = 2.0**-80, 2.0**100


def as_blocks(vectors: Blocks | NDArray[np.floating], what: str = "vectors") -> Blocks:
    """One array or several as checked blocks. Raises InputError for other types, shapes and widths that differ."""
    blocks = [vectors] if isinstance(vectors, np.ndarray) else vectors
    for block in blocks:
        if not isinstance(block, np.ndarray) or block.ndim != 2 or block.dtype not in (np.float32, np.float16):
            given = f"{block.dtype} {list(block.shape)}" if isinstance(block, np.ndarray) else type(block).__name__
            raise InputError(f"{what} must be float16 or float32 [N, D], are {given}")
        if block.shape[1] != blocks[0].shape[1] or block.shape[1] == 0:
            raise InputError(
                f"{what} must have one D of at least 1, have {blocks[0].shape[1]} and {block.shape[1]} dimensions"
            )
    return blocks


def num_rows(blocks: Blocks) -> int:
    """How many rows the blocks hold together."""
    return sum(len(block) for block in blocks)


def check_alive(alive: NDArray[np.bool_] | None, total: int) -> int:
    """How many of `total` rows are to be indexed. Raises InputError for a mask that is not bool [total]."""
    if alive is None:
        return total
    if not isinstance(alive, np.ndarray) or alive.dtype != np.bool_ or alive.shape != (total,):
        given = f"{alive.dtype} {list(alive.shape)}" if isinstance(alive, np.ndarray) else type(alive).__name__
        raise InputError(f"alive must be bool [{total}], one for each row, is {given}")
    return int(np.count_nonzero(alive))


def pieces(
    blocks: Blocks, *, alive: NDArray[np.bool_] | None = None, first_row: int = 0, size: int = PIECE_ROWS
) -> Iterator[Piece]:
    """Rows (from `first_row` on) and vectors of the blocks' living rows, `size` or fewer at a time, none empty."""
    row = 0
    for block in blocks:
        for start in range(0, len(block), size):
            values = block[start : start + size]
            chosen = slice(None) if alive is None else alive[row : row + len(values)]
            rows = np.arange(row, row + len(values), dtype=np.int64)[chosen] + first_row
            row += len(values)
            if len(rows):
                yield rows, np.asarray(values[chosen], np.float32)


def prepared(
    vectors: NDArray[np.float32], metric: Metric, what: str, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """`vectors` [n, D] contiguous, and for "cos" of unit length, which no narrow type then over- or underflows.

    Raises InputError for values that are not finite and, under "cos", for zero vectors, by their number in `rows`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nd,nd->n", vectors, vectors)  # [n]
    is_plain = (squares >= _SQUARE_MIN) & (squares <= _SQUARE_MAX)
    if not is_plain.all():
        _check_values(vectors, metric, what, rows)
    if metric != "cos":
        return np.ascontiguousarray(vectors)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        unit: NDArray[np.float32] = np.divide(vectors, np.sqrt(squares)[:, None], order="C")
    if not is_plain.all():
        odd = vectors[~is_plain].astype(np.float64)
        unit[~is_plain] = odd / np.linalg.norm(odd, axis=1, keepdims=True)
    return unit


def _check_values(vectors: NDArray[np.float32], metric: Metric, what: str, rows: NDArray[np.int64] | None) -> None:
    for usable, problem in (
        (np.isfinite(vectors).all(axis=1), "must be finite, row {} holds NaN or infinity"),
        (vectors.any(axis=1) | (metric != "cos"), "must not be zero under cosine, row {} is: it has no direction"),
    ):
        if not usable.all():
            at = int(np.argmin(usable))
            raise InputError(f"{what} {problem.format(at if rows is None else int(rows[at]))}")


def stretches(sizes: NDArray[np.int64], most: int) -> Iterator[slice]:
    """Stretches of `sizes` [n] of no more than `most` together, or of one."""
    ends, start, before = np.cumsum(sizes), 0, 0
    while start < len(sizes):
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield slice(start, stop)
        start, before = stop, int(ends[stop - 1])
