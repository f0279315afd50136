"""How the approximate index is built: its options, and the number type that holds the vectors well.

In: what a caller asks for, and the vectors [N, D] float32. Out: checked options and one of four number types. A type
that is asked for is taken or refused; one that is not asked for is chosen by what half floats would lose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.errors import InputError
from semblance.options import checked_count

IndexType = Literal["f32", "f16", "bf16", "i8"]

HALF_MAX = 65504.0
_HALF_SMALL = 2.0**-10  # below this half floats have fewer bits left than bf16
_ROWS = 4096  # looked at together: float64 copies of them stay small

# What half floats may lose before f32 is taken. Measured, 3,000 x 64-d in 50 clusters, l2sq, recall@10 against exact:
#   of a row's norm  an ordinary row loses at most 2**-11; with norms spread over 1e-6 to 1e3 some lose .018, and the
#                    500 smallest rows find .994 of their neighbours where f32 finds all
#   of the spread    rows lose .0002 of their distance to the mean and recall is .999; shifted away from zero until
#                    they lose .0008, .003, .006, .025 it is .996, .993, .987, .953
_ROW_LOSS = 2.0**-10
_SPREAD_LOSS = 2.0**-9


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


def choose_type(vectors: NDArray[np.float32], metric: Metric) -> IndexType:
    """The fastest type that holds `vectors` [N, D] float32, finite, well: f16, or f32 where half floats lose too much.

    Under "cos" vectors are indexed at unit length, where half floats always do.
    """
    if metric == "cos" or len(vectors) == 0:
        return "f16"
    if not _is_half_range(float(np.abs(vectors).max())):
        return "f32"
    mean = vectors.mean(axis=0, dtype=np.float64)  # [D]
    lost_sum = spread_sum = 0.0
    for start in range(0, len(vectors), _ROWS):
        rows = vectors[start : start + _ROWS].astype(np.float64)  # [n, D]
        lost = ((rows.astype(np.float16) - rows) ** 2).sum(axis=1)  # [n]
        if (lost > _ROW_LOSS**2 * (rows**2).sum(axis=1)).any():
            return "f32"
        lost_sum += float(lost.sum())
        spread_sum += float(((rows - mean) ** 2).sum())
    return "f16" if lost_sum <= _SPREAD_LOSS**2 * spread_sum else "f32"


def check_type(vectors: NDArray[np.float32], metric: Metric, dtype: IndexType) -> None:
    """Raise InputError where the type that was asked for cannot hold `vectors` [N, D] float32, N at least 1."""
    if metric == "cos":
        return
    largest = float(np.abs(vectors).max())
    if dtype == "f16" and not _is_half_range(largest):
        raise InputError(f"values reach {largest:.3g}, which half floats do not hold well; index them as f32 or bf16")
    if dtype == "i8" and not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):
        raise InputError("i8 keeps directions and drops lengths, which l2sq compares; index as f16, bf16 or f32")


def _is_half_range(largest: float) -> bool:
    return _HALF_SMALL <= largest <= HALF_MAX or largest == 0
