"""Neighbours put in order by what their keypoints agree on: matches of SIFT, and the geometry that holds them together.

In: the keypoints of a query picture, and pictures of a gallery that keeps keypoints. Out: for each of them how many
matches pass Lowe's test and how many of those one homography explains. A few of these come about by chance, so fewer
than `LEAST_INLIERS` count as none; and geometry is looked for only where there are matches enough for that many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semblance.errors import GalleryError, InputError
from semblance.gallery.gallery import Neighbours, VectorGallery
from semblance.gallery.stored_keypoints import StoredKeypoints
from semblance.inference.session import available_threads
from semblance.inputs.decode import single_threaded
from semblance.local.descriptors import DescriptorSets
from semblance.local.geometry import Model, verify
from semblance.local.matching import SetMatches, match_one_to_many
from semblance.local.sift import Features
from semblance.options import checked_count

Rows = NDArray[np.int64]

SHORTLIST = 100
LEAST_INLIERS = 8  # of 500 random pairs 4 to 6 agree on a homography
_PICTURES = 1024  # whose descriptors are held at once: 64 MB of 512 each


@dataclass(frozen=True, slots=True)
class Verification:
    """How pictures are compared by their keypoints. Raises InputError for what cannot be."""

    # Measured, 150 altered photographs, shortlists of 100: at 0.7 geometry is looked for in 15 pictures, at 0.8 in 66,
    # and the original comes first as often
    ratio: float = 0.7
    model: Model = "homography"
    threshold: float = 3.0  # pixels of the gallery's picture
    shortlist: int = SHORTLIST  # pictures that geometry is looked for in, at most

    def __post_init__(self) -> None:
        checked_count("shortlist", self.shortlist)
        nothing = np.empty((0, 2), np.float32)
        verify(nothing, nothing, model=self.model, threshold=self.threshold)  # says what is wrong with these
        if isinstance(self.ratio, bool) or not isinstance(self.ratio, int | float) or not 0 < self.ratio <= 1:
            raise InputError(f"ratio must be a number above 0 and at most 1, is {self.ratio!r}")


DEFAULT = Verification()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for each of n pictures."""

    matches: Rows  # [n]
    inliers: Rows  # [n] 0 where fewer than `LEAST_INLIERS`

    def order(self, distances: NDArray[np.floating], keys: Rows) -> Rows:
        """A permutation [n]: most inliers first, then the smaller of `distances` [n], then the lower key."""
        return np.lexsort((keys, distances, -self.inliers))


class KeypointSearch:
    """The keypoints of a gallery, to be compared with a query's."""

    def __init__(self, gallery: VectorGallery, *, threads: int | None = None) -> None:
        """Raises GalleryError for a gallery that keeps no keypoints."""
        if gallery.keypoints is None:
            raise GalleryError(
                f"gallery {gallery.path} keeps no keypoints to compare; make one with `semblance embed ... --sift`"
            )
        self._gallery = gallery
        self._stored: StoredKeypoints = gallery.keypoints
        self._rows = np.flatnonzero(gallery.alive)  # of those that count, among all
        self._threads = available_threads() if threads is None else checked_count("threads", threads)
        single_threaded()

    def features_of(self, key: int) -> Features:
        """The keypoints of one of its own pictures. Raises InputError for a key that it has not."""
        found = self._stored.keypoints(self._rows[self._gallery.rows_of(np.array([key]))])
        return Features(found.points, found.sizes, found.angles, found.responses, found.descriptors)

    def evidence(self, query: Features, keys: Rows, how: Verification = DEFAULT) -> Evidence:
        """For the pictures of `keys` [n], of which at most `how.shortlist`, those of most matches, have inliers."""
        rows = self._rows[self._gallery.rows_of(keys)]
        found = self._match(query, rows, how)
        return self._verified(query, rows, found, found.counts(1, len(rows))[0], how)

    def rank(
        self, query: Features, k: int, how: Verification = DEFAULT, *, keys: Rows | None = None
    ) -> tuple[Rows, Evidence]:
        """The k pictures of most inliers, then of most matches, then of lowest key: keys [k], and what speaks for them.

        All of the gallery are matched, or those of `keys`, and the `how.shortlist` of most matches verified.
        """
        keys = self._gallery.keys if keys is None else keys
        counts = np.concatenate([np.empty(0, np.int64), *self._counts(query, keys, how)])
        likely = np.lexsort((keys, -counts))[: max(k, how.shortlist)]
        found = self.evidence(query, keys[likely], how)
        order = np.lexsort((keys[likely], -found.matches, -found.inliers))[:k]
        return keys[likely][order], Evidence(found.matches[order], found.inliers[order])

    def _counts(self, query: Features, keys: Rows, how: Verification) -> Iterable[Rows]:
        for start in range(0, len(keys), _PICTURES):
            rows = self._rows[self._gallery.rows_of(keys[start : start + _PICTURES])]
            yield self._match(query, rows, how).counts(1, len(rows))[0]

    def _match(self, query: Features, rows: Rows, how: Verification) -> SetMatches:
        sets = DescriptorSets(*self._stored.take(rows))
        return match_one_to_many(query.descriptors, sets, ratio=how.ratio, threads=self._threads)

    def _verified(self, query: Features, rows: Rows, found: SetMatches, counts: Rows, how: Verification) -> Evidence:
        likely = np.argsort(-counts, kind="stable")[: how.shortlist]
        likely = likely[counts[likely] >= LEAST_INLIERS]
        inliers = np.zeros(len(rows), np.int64)
        if len(likely):
            points, offsets = self._stored.points(rows[likely]), np.cumsum([0, *self._stored.counts(rows[likely])])

            def verified(at: int) -> int:
                pairs = found.of(0, int(likely[at]))
                there = points[offsets[at] : offsets[at + 1]][pairs.train]
                geometry = verify(query.points[pairs.query], there, model=how.model, threshold=how.threshold)
                return geometry.num_inliers

            inliers[likely] = _mapped(verified, range(len(likely)), self._threads)
        inliers[inliers < LEAST_INLIERS] = 0
        return Evidence(counts, inliers)


@dataclass(frozen=True, slots=True)
class Verified(Neighbours):
    """Neighbours with what speaks for each; their distances are NaN where no embeddings were compared."""

    matches: Rows  # [Q, k] 0 behind what was found
    inliers: Rows  # [Q, k]


def in_order(
    search: KeypointSearch, queries: Iterable[Features], near: Neighbours, k: int, how: Verification
) -> Verified:
    """The shortlists `near` of Q queries, each in the order of `Evidence.order`, and of each the first k."""
    found = []
    for row, query in enumerate(queries):
        count = int(near.counts[row])
        keys, distances = near.keys[row, :count], near.distances[row, :count]
        evidence = search.evidence(query, keys, how)
        first = evidence.order(distances, keys)[:k]
        found.append((keys[first], distances[first], evidence.matches[first], evidence.inliers[first]))
    return _together(found, k)


def ranked(
    search: KeypointSearch, queries: Iterable[Features], k: int, how: Verification, *, keys: Rows | None = None
) -> Verified:
    """The k pictures that `KeypointSearch.rank` finds for each query."""
    found = []
    for query in queries:
        first, evidence = search.rank(query, k, how, keys=keys)
        found.append((first, np.full(len(first), np.nan, np.float32), evidence.matches, evidence.inliers))
    return _together(found, k)


def _together(found: Sequence[tuple[Rows, NDArray[np.float32], Rows, Rows]], k: int) -> Verified:
    keys, distances = np.full((len(found), k), -1, np.int64), np.full((len(found), k), np.inf, np.float32)
    matches, inliers = np.zeros((len(found), k), np.int64), np.zeros((len(found), k), np.int64)
    for row, each in enumerate(found):
        num = len(each[0])
        keys[row, :num], distances[row, :num], matches[row, :num], inliers[row, :num] = each
    return Verified(keys, distances, np.array([len(each[0]) for each in found], np.int64), matches, inliers)


def _mapped(work: Callable[[int], int], items: range, threads: int) -> list[int]:
    """In threads, which OpenCV leaves the interpreter's lock to while it searches."""
    if min(threads, len(items)) < 2:
        return list(map(work, items))
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        return list(pool.map(work, items))
