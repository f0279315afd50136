"""Which keypoints of two pictures are the same point: Lowe's ratio test on exact integer distances, in batches.

In: SIFT descriptors, uint8 [K, 128], of one picture or of many. Out: matches as arrays. The rules:

    ratio      query a matches its nearest b where d(a, b) < ratio * d(a, b'), b' being the second-nearest (Lowe,
               Distinctive image features from scale-invariant keypoints, 2004, section 7.1). It is decided on squares,
               n^2 d^2(a, b) > m^2 d^2(a, b') with ratio = n / m, in integers: nothing is rounded
    ties       two train descriptors that are equally near are each other's second: no match, also at distance 0
    too few    fewer than two train descriptors: there is no second-nearest, so no match
    duplicates queries are decided one by one: several may match the same train descriptor, unless `mutual`
    mutual     a match stays only where the query is also the nearest of all queries of its picture to b, the lowest
               of equally near ones
    order      by query picture, train picture, query

For SIFT's descriptors the answers are those of `cv2.BFMatcher().knnMatch(k=2)` with the same test, whatever is batched
with what, on any backend. (Of bytes at large its float32 distances would merge some that differ by one.)
Knows nothing of pictures or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from semblance.container import available_threads
from semblance.errors import InputError
from semblance.local.descriptors import Descriptors, DescriptorSets
from semblance.local.nearest import NONE, Nearest, Searcher, searcher
from semblance.options import checked_count

Ints = NDArray[np.int64]

RATIO = 0.7

# The largest squared distance is 128 * 255^2 < 2^23, and 10^12 times that still fits into 63 bits
_LARGEST_DENOMINATOR = 10**6


@dataclass(frozen=True, slots=True)
class Matches:
    """Matches of two pictures, by query."""

    query: Ints  # [M] which descriptor of the first picture
    train: Ints  # [M] and of the second
    distance: NDArray[np.float32]  # [M] Euclidean

    def __len__(self) -> int:
        return len(self.query)


@dataclass(frozen=True, slots=True)
class SetMatches:
    """Matches of many pairs of pictures, by query picture, train picture, query."""

    query_set: Ints  # [M] which picture of those asked for
    train_set: Ints  # [M] and of the others
    query: Ints  # [M] which descriptor of its picture
    train: Ints  # [M]
    distance: NDArray[np.float32]  # [M] Euclidean

    def __len__(self) -> int:
        return len(self.query)

    def of(self, query_set: int, train_set: int) -> Matches:
        """Those of one pair."""
        first, last = np.searchsorted(self.query_set, [query_set, query_set + 1])
        low, high = first + np.searchsorted(self.train_set[first:last], [train_set, train_set + 1])
        return Matches(self.query[low:high], self.train[low:high], self.distance[low:high])

    def counts(self, num_queries: int, num_train: int) -> Ints:
        """How many matches each pair has, [num_queries, num_train]."""
        pairs = self.query_set * num_train + self.train_set
        return np.bincount(pairs, minlength=num_queries * num_train).reshape(num_queries, num_train)


def match(
    a: Descriptors,
    b: Descriptors,
    *,
    ratio: float = RATIO,
    mutual: bool = False,
    backend: str = "cpu",
    threads: int | None = None,
) -> Matches:
    """Match the descriptors `a` uint8 [K1, 128] of one picture to `b` uint8 [K2, 128] of another.

    `ratio` in (0, 1] is taken as the nearest fraction with a denominator of no more than a million. `threads` (default:
    all this process may use) work on a CPU. Raises InputError for anything else, BackendError and RuntimeMissing.
    """
    found = match_sets([a], [b], ratio=ratio, mutual=mutual, backend=backend, threads=threads)
    return Matches(found.query, found.train, found.distance)


def match_one_to_many(
    a: Descriptors,
    train: DescriptorSets | Sequence[Descriptors],
    *,
    ratio: float = RATIO,
    mutual: bool = False,
    backend: str = "cpu",
    threads: int | None = None,
) -> SetMatches:
    """`match` of one picture with each of many, all at once: `query_set` is 0."""
    return match_sets([a], train, ratio=ratio, mutual=mutual, backend=backend, threads=threads)


def match_sets(
    queries: DescriptorSets | Sequence[Descriptors],
    train: DescriptorSets | Sequence[Descriptors],
    *,
    ratio: float = RATIO,
    mutual: bool = False,
    backend: str = "cpu",
    threads: int | None = None,
) -> SetMatches:
    """`match` of each of many pictures with each of many others, all at once. Raises what `match` raises."""
    queries = queries if isinstance(queries, DescriptorSets) else DescriptorSets.join(queries)
    train = train if isinstance(train, DescriptorSets) else DescriptorSets.join(train)
    check_ratio(ratio)
    numerator, denominator = _squared_ratio(float(ratio))
    threads = available_threads() if threads is None else checked_count("threads", threads)
    search = searcher(backend, threads)
    bound = numerator / denominator * (1 + 2.0**-40)  # in float64, so as to drop none that passes

    def may_pass(first: Ints, second: Ints) -> NDArray[np.bool_]:
        return (first < bound * second) & (first < second) & (second < NONE)

    def passes(found: Nearest) -> NDArray[np.bool_]:
        return (found.second < NONE) & (denominator * found.first < numerator * found.second)

    found = search.search(queries.descriptors, train, may_pass)
    found = found.where(passes(found))
    query_set = np.searchsorted(queries.offsets, found.row, side="right") - 1
    query = found.row - queries.offsets[query_set]
    order = np.lexsort((query, found.set, query_set))
    matches = SetMatches(
        query_set[order],
        found.set[order],
        query[order],
        found.index[order],
        np.sqrt(found.first[order].astype(np.float64)).astype(np.float32),
    )
    return _mutual(matches, queries, train, search) if mutual else matches


def score(num_matches: int, num_a: int, num_b: int) -> float:
    """`100 * matches / min(K1, K2)`, 0 where a picture has no descriptor; with `mutual` never above 100."""
    return 100 * num_matches / min(num_a, num_b) if min(num_a, num_b) else 0.0


def scores(counts: Ints, num_queries: Ints, num_train: Ints) -> NDArray[np.float64]:
    """`score` of many pairs [Q, T], by their `counts` and how many descriptors each picture has, [Q] and [T]."""
    smaller = np.minimum(num_queries[:, None], num_train[None, :])
    return 100.0 * counts / np.maximum(smaller, 1)


# ------------------------------------------------------------------------------------------------------------------


def _mutual(matches: SetMatches, queries: DescriptorSets, train: DescriptorSets, search: Searcher) -> SetMatches:
    """Those whose query is the nearest of its picture to the train descriptor."""
    is_mutual = np.zeros(len(matches), np.bool_)
    ends = np.searchsorted(matches.query_set, np.arange(len(queries) + 1))
    for number in range(len(queries)):
        part = slice(int(ends[number]), int(ends[number + 1]))
        if part.start == part.stop:
            continue
        wanted, back = np.unique(train.offsets[matches.train_set[part]] + matches.train[part], return_inverse=True)
        own = DescriptorSets.join([queries[number]])
        found = search.search(np.take(train.descriptors, wanted, axis=0), own, _all_stay)
        nearest = np.empty(len(wanted), np.int64)
        nearest[found.row] = found.index
        is_mutual[part] = nearest[back] == matches.query[part]
    return SetMatches(
        matches.query_set[is_mutual],
        matches.train_set[is_mutual],
        matches.query[is_mutual],
        matches.train[is_mutual],
        matches.distance[is_mutual],
    )


def _all_stay(first: Ints, second: Ints) -> NDArray[np.bool_]:
    return np.ones(first.shape, np.bool_)


def check_ratio(ratio: float) -> None:
    """Raises InputError for what is no number in (0, 1]."""
    if not isinstance(ratio, Real) or isinstance(ratio, bool) or not 0 < ratio <= 1:
        raise InputError(f"ratio must be a number above 0 and at most 1, is {ratio!r}")


@lru_cache(maxsize=64)
def _squared_ratio(ratio: float) -> tuple[int, int]:
    """m^2 and n^2 of the fraction m / n that is meant by `ratio`."""
    fraction = Fraction(ratio).limit_denominator(_LARGEST_DENOMINATOR)
    fraction = max(fraction, Fraction(1, _LARGEST_DENOMINATOR))  # a copy always matches
    return fraction.numerator**2, fraction.denominator**2
