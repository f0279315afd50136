"""What a distance is: one definition for every search, so that their answers agree to the bit.

In: rows of vectors in float64, pair by pair. Out: float64 distances; "l2sq" is the squared Euclidean distance, "cos" is
1 - cosine, where a zero vector is at distance 1 from everything, itself included. Equal pairs give bit-equal distances
wherever they lie, or ties would break at random: a sum over a row depends on the row alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semblance.errors import InputError

Doubles = NDArray[np.float64]

# float64 values worked on at once, so that they stay in cache and the allocator keeps their pages
CACHED_VALUES = 1 << 17


# A sum over more columns is one of stretches. OpenBLAS shares longer ones among its threads (over 10,000 values, its
# interface/dot.c), by as many as it has just then.
_MAX_STRETCH = 1 << 13


def squared_distances(left: Doubles, right: Doubles) -> Doubles:
    """Squared Euclidean distances [...] of the pairs of rows of [..., D] and [..., D]; `right` is overwritten.

    `left` may be one that is broadcast to the other's shape, here and below.
    """
    right -= left
    return row_dots(right, right)


def cosine_distances(left: Doubles, right: Doubles, norms: Doubles) -> Doubles:
    """1 - cosine [...] of the pairs of rows of [..., D] and [..., D]; `norms` [...] are the products of their norms."""
    norms = np.where(norms == 0, 1, norms)  # the product is 0 then, which makes the distance 1
    distances: Doubles = np.clip(1 - row_dots(left, right) / norms, 0, 2)
    return distances


def row_dots(left: Doubles, right: Doubles) -> Doubles:
    """Dot products [...] of the pairs of rows of [..., D] and [..., D].

    One BLAS dot product each, which walks a row the same way wherever it lies; measured 2.6 times as fast as einsum.
    """
    num_columns = right.shape[-1]
    products: Doubles = np.vecdot(left[..., :_MAX_STRETCH], right[..., :_MAX_STRETCH])
    for start in range(_MAX_STRETCH, num_columns, _MAX_STRETCH):
        stretch = slice(start, start + _MAX_STRETCH)
        products += np.vecdot(left[..., stretch], right[..., stretch])
    return products


def euclidean_norms(values: NDArray[np.floating], what: str, first_row: int) -> Doubles:
    """Norms [n] in float64 of the rows of [n, D]. Raises InputError where one is not finite."""
    norms = np.empty(len(values))
    step = max(1, CACHED_VALUES // values.shape[1])
    for start in range(0, len(values), step):
        part = values[start : start + step].astype(np.float64)
        norms[start : start + step] = np.sqrt(row_dots(part, part))
    if not np.isfinite(norms).all():
        row = first_row + int(np.flatnonzero(~np.isfinite(norms))[0])
        raise InputError(f"{what} must be finite, row {row} holds NaN or infinity")
    return norms
