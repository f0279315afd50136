"""How the approximate index is built: its options, and the number type that holds the vectors well.

In: what a caller asks for, and the vectors [N, D] float32. Out: checked options and one of four number types. A type
that is asked for is taken or refused; one that is not asked for is chosen by what bytes, or half floats, would lose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.errors import InputError
from semblance.gallery.codes import code_factor, kept_neighbours
from semblance.gallery.pieces import Blocks, as_blocks, check_alive, num_rows, pieces, prepared
from semblance.options import checked_count

IndexType = Literal["f32", "f16", "bf16", "i8"]

HALF_MAX = 65504.0
_HALF_SMALL = 2.0**-10  # below this half floats have fewer bits left than bf16

# What half floats may lose before f32 is taken. Measured, 3,000 x 64-d in 50 clusters, l2sq, recall@10 against exact:
#   of a row's norm  an ordinary row loses at most 2**-11; with norms spread over 1e-6 to 1e3 some lose .018, and the
#                    500 smallest rows find .994 of their neighbours where f32 finds all
#   of the spread    rows lose .0002 of their distance to the mean and recall is .999; shifted away from zero until
#                    they lose .0008, .003, .006, .025 it is .996, .993, .987, .953
_ROW_LOSS = 2.0**-10
_SPREAD_LOSS = 2.0**-9

# How many candidates to take from an index before the stored vectors decide: this many times k, and a few beside, since
# half floats too put the last places in another order. Measured, unit vectors about 1,000 centres, cosine, connectivity
# 16, expansion 128/64, recall@10 of i8 after rescoring from 10, 12, 15, 18, 20 candidates:
#   50,000 x 2,048-d   .959 .9956 .9999 1.0000 1.0000      100,000 x 64-d   .953 .9933 .9997 1.0000 1.0000
_OVERSAMPLE: dict[IndexType, float] = {"i8": 1.5}
_SPARE = 8

# Bytes are chosen where these rows keep this share of their neighbours, i.e. lose one of 640 at most
_SAMPLE_ROWS = 64
_SAMPLE_K = 10
_KEPT = 0.998


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How the approximate index is built. Raises InputError for what no index can be built with."""

    dtype: IndexType | None = None  # None: chosen by `choose_type`
    connectivity: int = 16  # neighbours that each vector is linked to
    expansion_add: int = 128  # candidates kept while building: more give a better graph and take longer
    expansion_search: int = 64  # candidates kept while searching: more find more and take longer

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in get_args(IndexType):
            raise InputError(f"dtype must be one of {', '.join(get_args(IndexType))}, is {self.dtype!r}")
        # USearch refuses a connectivity of 1: such a graph is a rope
        for name, least in (("connectivity", 2), ("expansion_add", 1), ("expansion_search", 1)):
            checked_count(name, getattr(self, name), least=least)


def oversampled(k: int, dtype: IndexType, available: int) -> int:
    """How many candidates an index of `dtype` is asked for, of `available`, so that rescoring finds the best k."""
    return min(available, max(k + _SPARE, math.ceil(k * _OVERSAMPLE.get(dtype, 1.0))))


def choose_type(
    vectors: Blocks | NDArray[np.floating],
    metric: Metric,
    alive: NDArray[np.bool_] | None = None,
    *,
    is_rescored: bool = False,
) -> IndexType:
    """The fastest type that holds `vectors` (blocks [n, D], finite) well: f16, or f32 where half floats lose too much.

    Under "cos" vectors are indexed at unit length, where half floats always do. With `is_rescored` the stored vectors
    decide among candidates (`oversampled`), and bytes are chosen under "cos" where a sample keeps its neighbours.
    """
    if metric == "cos":
        return "i8" if is_rescored and _bytes_do(as_blocks(vectors), alive) else "f16"
    lost_sum, largest, count = 0.0, 0.0, 0
    shift = total = squares = np.float64(0)
    for at, values in pieces(as_blocks(vectors), alive=alive):
        rows = prepared(values, metric, "vectors", at).astype(np.float64)  # [n, D]
        largest = max(largest, float(np.abs(values).max()))
        with np.errstate(over="ignore", invalid="ignore"):
            lost = ((rows.astype(np.float16) - rows) ** 2).sum(axis=1)  # [n]
        if largest > HALF_MAX or (lost > _ROW_LOSS**2 * (rows**2).sum(axis=1)).any():
            return "f32"
        lost_sum += float(lost.sum())
        # The spread is the sum of squares about the mean, gathered in one pass; about a mean of the first piece's
        # rather than about zero, so that a cloud far from zero is not lost in the difference of two large sums.
        shift = shift if count else rows.mean(axis=0)  # [D]
        rows -= shift
        total, squares, count = total + rows.sum(axis=0), squares + (rows**2).sum(), count + len(rows)
    if count == 0 or largest == 0:
        return "f16"
    spread_sum = float(squares - (np.asarray(total) ** 2).sum() / count)
    return "f16" if largest >= _HALF_SMALL and lost_sum <= _SPREAD_LOSS**2 * spread_sum else "f32"


def _bytes_do(blocks: Blocks, alive: NDArray[np.bool_] | None) -> bool:
    total = check_alive(alive, num_rows(blocks))
    if total == 0:
        return False
    kept = kept_neighbours(
        blocks,
        "cos",
        code_factor(blocks, "cos", alive),
        k=_SAMPLE_K + 1,  # itself
        candidates=oversampled(_SAMPLE_K, "i8", total) + 1,
        sample=_SAMPLE_ROWS,
        alive=alive,
    )
    return kept >= _KEPT


def check_type(
    vectors: Blocks | NDArray[np.floating], metric: Metric, dtype: IndexType, alive: NDArray[np.bool_] | None = None
) -> None:
    """Raise InputError where the type that was asked for cannot hold `vectors`, blocks [n, D]."""
    if metric == "cos" or dtype not in ("f16", "i8"):
        return
    largest = 0.0
    for at, values in pieces(as_blocks(vectors), alive=alive):
        largest = max(largest, float(np.abs(prepared(values, metric, "vectors", at)).max()))
        if dtype == "i8" and not np.allclose(np.linalg.norm(values, axis=1), 1, atol=1e-3):
            raise InputError("i8 keeps directions and drops lengths, which l2sq compares; index as f16, bf16 or f32")
    if dtype == "f16" and not _is_half_range(largest):
        raise InputError(f"values reach {largest:.3g}, which half floats do not hold well; index them as f32 or bf16")


def _is_half_range(largest: float) -> bool:
    return _HALF_SMALL <= largest <= HALF_MAX or largest == 0
