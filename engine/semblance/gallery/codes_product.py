"""Scores of queries and vectors by a product of bytes, and by how much each may be off.

In: float32 queries [q, D] and vectors [n, D] of length 1 at most. Out: score[i, j] = bias[j] - factor * q_i . v_j as
float32, within a proven error, and minima over groups of scores. Bytes take a third to a quarter of a float32 product's
time where the processor has instructions for them, and rank well enough to leave few pairs for exact distances.

The error: with q' and v' what the codes stand for, |q.v - q'.v'| <= |q - q'| |v| + |q'| |v - v'| (Cauchy-Schwarz), and
both differences are at hand as the codes are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.errors import SemblanceError
from semblance.gallery.distances import CACHED_VALUES
from semblance.inference import backends

Floats = NDArray[np.float32]

GRAPH = Path(__file__).parent / "graphs" / "codes.onnx"

_LARGEST = 127
_MOST_DIMENSIONS = (2**31 - 1) // _LARGEST**2  # 133,144: sums of more products may not fit into 32 bits
_ZERO = 128  # what a query's bytes are without sign
# Of scores of the order of 1: an integer below 2^31 becomes float32, is scaled, and has the bias added, each rounded
_ROUNDING = 2.0**-20


@dataclass(frozen=True, slots=True)
class Codes:
    """Vectors [n, D] as bytes times a factor each."""

    bytes: NDArray[np.int8]  # [n, D]
    factors: Floats  # [n]
    residual: float  # the longest difference of a vector and what its bytes stand for, no less


class CodesProduct:
    """The graph, loaded; safe to call from several threads, each run in the caller's own."""

    def __init__(self) -> None:
        """Raises BackendError, RuntimeMissing, ModelError where there is no runtime."""
        self._session: Any = backends.open_session(GRAPH, "cpu", threads=1)

    def scores(
        self, queries: Codes, vectors: Codes, part: slice, *, factor: float, bias: Floats, group: int, out: Floats
    ) -> Floats:
        """Fill `out` [q, n], contiguous, with bias - factor * q.v of a `part` of the vectors; minima [q, n / group].

        `queries` have one factor for all; n is a multiple of `group`, the members of which lie n / group apart.
        """
        codes = vectors.bytes[part]
        num = len(codes)
        binding = self._session.io_binding()
        binding.bind_cpu_input("a", (queries.bytes.view(np.uint8) ^ np.uint8(_ZERO)))
        binding.bind_cpu_input("b", codes)
        binding.bind_cpu_input("scale", vectors.factors[part] * np.float32(-factor * queries.factors[0]))
        binding.bind_cpu_input("bias", np.ascontiguousarray(bias[part]))
        binding.bind_cpu_input("shape", np.array([0, group, num // group]))
        minima = np.empty((len(out), num // group), np.float32)
        for name, array in (("scores", out), ("minima", minima)):
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        self._session.run_with_iobinding(binding)
        return minima


def codes_product(dimension: int) -> CodesProduct | None:
    """The product for vectors [n, `dimension`]; None where there is none that is right."""
    return _loaded() if dimension <= _MOST_DIMENSIONS else None


@cache
def _loaded() -> CodesProduct | None:
    """The product, where it is there and right; None where there is no runtime, or it cuts sums of bytes off.

    On a processor that multiplies bytes in pairs into 16 bits, sums of large ones are cut off without a word.
    """
    try:
        product = CodesProduct()
    except SemblanceError:
        return None
    largest = Codes(np.full((16, 64), _LARGEST, np.int8), np.ones(16, np.float32), 0.0)
    out = np.empty((16, 16), np.float32)
    product.scores(largest, largest, slice(0, 16), factor=1.0, bias=np.zeros(16, np.float32), group=16, out=out)
    return product if (out == -64 * _LARGEST**2).all() else None


def encode(vectors: Floats, *, is_one_factor: bool = False) -> Codes:
    """Bytes of vectors [n, D], each row with a factor of its own or all with one."""
    codes = np.empty(vectors.shape, np.int8)
    factors = np.empty(len(vectors), np.float32)
    longest = 0.0
    if is_one_factor:
        factors[:] = _factor(np.array([np.abs(vectors).max(initial=0)], np.float32))
    step = max(1, CACHED_VALUES // vectors.shape[1])
    for start in range(0, len(vectors), step):
        part = slice(start, start + step)
        if not is_one_factor:
            factors[part] = _factor(np.abs(vectors[part]).max(axis=1))
        scaled = vectors[part] / factors[part, None]
        np.rint(scaled, out=scaled)
        codes[part] = scaled
        scaled *= factors[part, None]
        scaled -= vectors[part]
        longest = max(longest, float(np.einsum("nd,nd->n", scaled, scaled).max(initial=0)))
    # sums of D squares err by less than D 2^-24 of themselves, differences by 2^-24 of the vector's length, which is 1
    return Codes(codes, factors, float(np.sqrt(longest)) * (1 + vectors.shape[1] * 2.0**-23) + 2.0**-22)


def error_of(queries: Codes, vectors: Codes, factor: float) -> float:
    """By how much a score may be off, for queries and vectors of length 1 at most."""
    return factor * (queries.residual + (1 + queries.residual) * vectors.residual) * (1 + 2.0**-20) + _ROUNDING


def _factor(largest: Floats) -> Floats:
    # a vector of zeros has zeros for bytes, whatever the factor; one next to zero must not overflow
    return np.where(largest > 2.0**-100, largest, 1).astype(np.float32) / np.float32(_LARGEST)
