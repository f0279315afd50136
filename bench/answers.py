"""How far a contender's answers agree with those they are held against: 1 where they are the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from export.gate import cosines


def mean_cosine(found: NDArray[np.float32], original: NDArray[np.float32]) -> float:
    """Of embeddings [N, D] and [N, D], row by row; 0 where they are not of one shape, or hold what is no number."""
    if found.shape != original.shape or not np.isfinite(found).all():
        return 0.0
    return float(cosines(found, original).mean())
