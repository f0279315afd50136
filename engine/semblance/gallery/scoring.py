"""Scores of a tile of queries against a block of vectors, by a matrix product, and by how much each may be off.

In: queries and vectors as float32, prepared once each. Out: scores that rise with the distance, minima over groups of
them, and for each query what turns a score into a distance with an error bound. The product is of float32, or of bytes,
which takes a third of the time and leaves a wider bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.errors import InputError
from semblance.gallery.codes_product import Codes, CodesProduct, encode, error_of
from semblance.gallery.distances import CACHED_VALUES, euclidean_norms

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]
Map = Callable[[Callable[[slice], Codes], Iterable[slice]], Iterable[Codes]]

GROUP = 16  # scores under one minimum
APART = 16  # float scores between two rows of them, which a power of two apart would share their places in the cache
_MAX_DEPTH = 4096  # products summed in one go: longer sums would widen the error bound in proportion
_UNIT = 2.0**-20  # how far norms may be off 1 for vectors to count as of unit length, which the bound then covers

# Scores of codes that are computed together. Measured, 4,096 x 98,304, 64-d, two threads, tiles of 512 queries: strips
# of 1,024 .127 s, 2,048 .130, 4,096 .166; by floats .39. 2,048-d, 49,152 vectors: 1.25, 1.31, 1.41; by floats 4.1
_STRIP = 1024
_ENCODED_VALUES = 1 << 20  # of a part that one thread encodes

_U = 2.0**-24  # unit roundoff of float32
_FLOOR = 2.0**-118  # what underflow can lose in one score; scores are scaled to be of the order of 1


@dataclass(slots=True)
class Tile:
    """Some queries and the best rows they have met so far."""

    values: Floats  # [q, D] as given
    scaled: Floats  # [q, D] of norm 0.5 to 1 (l2sq, by a power of two) or of unit norm (cos)
    norms: Doubles  # [q] Euclidean, of the values as given
    exponents: NDArray[np.int64]  # [q] values = scaled * 2**exponent, for l2sq
    exclude: Rows | None  # [q]
    distances: Doubles  # [q, k] ascending, inf where there is none yet
    rows: Rows  # [q, k]
    codes: tuple[int, Codes] | None = None  # for blocks of this exponent

    def encoded(self, exponent: int, metric: Metric) -> Codes | None:
        """The queries as bytes with one factor, scaled as a block of this exponent is; None where they outgrow it."""
        if self.codes is None or self.codes[0] != exponent:
            if metric == "cos":
                scaled = self.scaled
            elif self.exponents.max() <= exponent:
                scaled = np.ldexp(self.scaled, (self.exponents - exponent)[:, None])
            else:
                return None
            self.codes = exponent, encode(scaled, is_one_factor=True)
        return self.codes[1]


@dataclass(slots=True)
class Block:
    """Consecutive vectors, prepared for the product."""

    first_row: int
    values: Floats  # [n, D] as given
    scaled: Floats  # cos: [n, D] of unit length; l2sq: [n, D + 1], by one power of two, with squared norms behind
    norms: Doubles  # [n]
    exponent: int
    slack: float  # by how much the lengths of `scaled` are off 1, under cos
    group: int  # scores under one minimum, which lie G apart
    codes: Codes | None = field(
        default=None
    )  # with zeros behind, where a strip has more columns than there are vectors
    bias: Floats | None = None  # [S * columns] squared norms or 0, infinite behind

    @property
    def num_groups(self) -> int:
        """G of float scores; those from n on are padding."""
        return -(-len(self.values) // self.group)

    @classmethod
    def prepare(cls, values: NDArray[np.generic], first_row: int, metric: Metric, dimension: int, k: int) -> Block:
        """Raises InputError for what is no matrix of `dimension` columns, and for values that are not finite."""
        check_matrix(values, "vectors")
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
        group = GROUP
        while group > 1 and len(floats) // group < 2 * (k + 1):  # enough minima to hold k of them
            group //= 2
        return cls(first_row, floats, scaled, norms, exponent, slack, group)

    def encode(self, metric: Metric, all_of: Map) -> None:
        """Add the vectors as bytes, part by part through `all_of`, which may use threads."""
        vectors = self.scaled if metric == "cos" else self.scaled[:, :-1]
        num, dimension = vectors.shape
        step = max(1, _ENCODED_VALUES // dimension)
        starts = range(0, num, step)
        parts = list(all_of(lambda part: encode(vectors[part]), (slice(start, start + step) for start in starts)))
        num_strips = -(-num // _STRIP)
        padded = num_strips * self.group * -(-num // (num_strips * self.group))
        codes, factors = np.zeros((padded, dimension), np.int8), np.ones(padded, np.float32)
        for start, part in zip(starts, parts, strict=True):
            codes[start : start + len(part.bytes)], factors[start : start + len(part.bytes)] = part.bytes, part.factors
        self.codes = Codes(codes, factors, max(part.residual for part in parts))
        self.bias = np.full(padded, np.inf, np.float32)
        self.bias[:num] = 0 if metric == "cos" else self.scaled[:, -1]


@dataclass(frozen=True, slots=True)
class Scores:
    """score = (distance - offset) * 2**scale, within the bound; all of a group of them lie at or above its minimum."""

    strips: Floats  # [S, q, columns], behind the last vector infinite or nothing that counts
    minima: Floats  # [q, G]
    offset: Doubles  # [q]
    scale: NDArray[np.int64]  # [q]
    bound: Doubles  # [q]
    group: int  # members of a group

    def members(self, query: Rows, group: Rows) -> Floats:
        """The scores [P, members] of the groups [P] of queries [P]."""
        strip, within = np.divmod(group, self._strip_groups)
        cut = self.strips.reshape(*self.strips.shape[:2], self.group, self._strip_groups)
        found: Floats = cut[strip, query, :, within]
        return found

    def rows(self, group: Rows, member: Rows) -> Rows:
        """Which vectors of the block the members [P] of groups [P] are."""
        strip, within = np.divmod(group, self._strip_groups)
        return (strip * self.group + member) * self._strip_groups + within

    @property
    def _strip_groups(self) -> int:
        return int(self.minima.shape[1]) // len(self.strips)


def query_tiles(
    queries: NDArray[np.generic], *, k: int, metric: Metric, exclude: Rows | None, size: int
) -> Iterator[Tile]:
    """Tiles of `size` queries or fewer. Raises InputError for values that are not finite."""
    for start in range(0, len(queries), size):
        values = np.ascontiguousarray(queries[start : start + size], dtype=np.float32)
        norms = euclidean_norms(values, "queries", start)
        exponents = np.frexp(norms)[1].astype(np.int64)
        scaled = _unit(values, norms) if metric == "cos" else np.ldexp(values, -exponents[:, None])
        yield Tile(
            values=values,
            scaled=scaled,
            norms=norms,
            exponents=exponents,
            exclude=None if exclude is None else exclude[start : start + size],
            distances=np.full((len(values), k), np.inf),
            rows=np.full((len(values), k), -1, np.int64),
        )


def float_scores(tile: Tile, block: Block, metric: Metric, room: Floats) -> Scores:
    """Scores by a float32 product, in `room` for q times the padded vectors and `APART`.

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
    padded = block.group * block.num_groups
    scores = room[: len(left) * (padded + APART)].reshape(len(left), -1)[:, :padded]
    _product(left, block.scaled, scores[:, : len(block.scaled)])
    scores[:, len(block.scaled) :] = np.inf
    minima = np.minimum.reduce(scores.reshape(len(left), block.group, block.num_groups), axis=1)
    return Scores(scores[np.newaxis], minima, offset, scale, bound + _FLOOR * (dimension + 1), block.group)


def code_scores(tile: Tile, block: Block, metric: Metric, room: Floats, product: CodesProduct) -> Scores | None:
    """Scores by a product of bytes, in `room` for q times the padded vectors; None where the tile has no codes.

    Scores are what `float_scores` has, but for their wider bound; its last terms are in this one, too.
    """
    queries, codes, bias = tile.encoded(block.exponent, metric), block.codes, block.bias
    if queries is None or codes is None or bias is None:
        return None
    num, dimension = tile.values.shape
    factor = 1.0 if metric == "cos" else 2.0
    num_strips = -(-len(block.values) // _STRIP)
    strips = room[: num * len(codes.bytes)].reshape(num_strips, num, -1)
    minima = np.empty((num, num_strips, strips.shape[2] // block.group), np.float32)
    for strip, out in enumerate(strips):
        part = slice(strip * strips.shape[2], (strip + 1) * strips.shape[2])
        minima[:, strip] = product.scores(queries, codes, part, factor=factor, bias=bias, group=block.group, out=out)
    if metric == "cos":
        offset, scale = np.ones(num), np.zeros(num, np.int64)
    else:
        offset, scale = tile.norms**2, np.full(num, -2 * block.exponent)
    bound = error_of(queries, codes, factor) + 1.01 * block.slack + dimension * 2.0**-48 + 8 * _U
    return Scores(strips, minima.reshape(num, -1), offset, scale, np.full(num, bound), block.group)


def pair_scores(tile: Tile, block: Block, metric: Metric, query: Rows, row: Rows) -> tuple[Doubles, float]:
    """Scores [C] of pairs (query, row of the block), scaled as `code_scores`, by a float32 product each; their bound.

    The block must have codes. The bound is that of `float_scores`, for lengths of 1 at most.
    """
    dimension = tile.values.shape[1]
    vectors, queries = block.scaled[:, :dimension], tile.scaled
    if metric != "cos":
        queries = np.ldexp(tile.scaled, (tile.exponents - block.exponent)[:, None])
    products = np.empty(len(query), np.float32)
    step = max(1, CACHED_VALUES // dimension)
    for start in range(0, len(query), step):
        part = slice(start, start + step)
        products[part] = np.vecdot(queries[query[part]], vectors[row[part]])
    gamma = (dimension + 5) * _U / (1 - (dimension + 5) * _U)
    if metric == "cos":
        return -products.astype(np.float64), 1.01 * gamma + 1.01 * block.slack + dimension * 2.0**-50
    squares = block.scaled[row, dimension].astype(np.float64)
    return squares - 2.0 * products, 1.01 * gamma * 3 + dimension * 2.0**-48


def _product(left: Floats, right: Floats, out: Floats) -> None:
    """left @ right.T, summed in stretches of at most `_MAX_DEPTH`."""
    depth = _depth(left.shape[1])
    np.matmul(left[:, :depth], right[:, :depth].T, out=out)
    for start in range(depth, left.shape[1], depth):
        out += left[:, start : start + depth] @ right[:, start : start + depth].T


def _depth(num_products: int) -> int:
    num_stretches = -(-num_products // _MAX_DEPTH)
    return -(-num_products // num_stretches)


def _unit(values: Floats, norms: Doubles) -> Floats:
    """`values` [n, D] of length 1, rounded once; those of norm 0 as they are."""
    scaled = np.empty(values.shape, np.float32)
    divisors = np.where(norms == 0, 1, norms)[:, None]
    step = max(1, CACHED_VALUES // values.shape[1])
    for start in range(0, len(values), step):
        part = slice(start, start + step)
        scaled[part] = values[part] / divisors[part]  # in float64
    return scaled


def check_matrix(values: NDArray[np.generic], what: str) -> None:
    """Raises InputError for what is no array [N, D] of a type that float32 holds exactly."""
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.shape[1] == 0:
        raise InputError(f"{what} must be an array [N, D] with D at least 1, is {_described(values)}")
    if values.dtype not in (np.float32, np.float16, np.uint8, np.int8):
        raise InputError(f"{what} must be float32 (or float16, uint8, int8), are {values.dtype}; convert them")


def _described(values: object) -> str:
    return f"of shape {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
