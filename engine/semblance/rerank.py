"""Neighbours put in order by what their keypoints agree on: matches of SIFT, and the geometry that holds them together.

In: the keypoints of a query picture, and pictures of a gallery that keeps keypoints. Out: for each of them how many of
its keypoints are matched and how many of those one homography explains. The rules:

    counting   a picture's keypoint counts once, however many of the query's match it: pictures of few keypoints draw
               many matches onto each
    chance     inliers count as none where fewer than `LEAST_INLIERS`, or where as many would come about by chance among
               so many matches in a picture of that size, by `geometry.log_false_alarms`
    sense      inliers count as none where the geometry mirrors, or changes areas more than `_MOST_CHANGE` times
    pixels     errors are measured in pixels of the picture as SIFT saw it
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from semblance.container import available_threads
from semblance.errors import GalleryError, InputError
from semblance.gallery.gallery import Neighbours, VectorGallery
from semblance.gallery.pieces import stretches
from semblance.gallery.stored_keypoints import StoredKeypoints
from semblance.inputs.decode import single_threaded
from semblance.local.descriptors import DescriptorSets
from semblance.local.geometry import Model, log_false_alarms, verify
from semblance.local.matching import Matches, check_ratio, match_one_to_many
from semblance.local.sift import Features, SiftOptions, pixels_per_step
from semblance.options import checked_count

Rows = NDArray[np.int64]

SHORTLIST = 100
LEAST_INLIERS = 8
_MOST_ALARMS = -2  # log10: a hundredth of an unrelated picture in all
_MOST_CHANGE = 100.0
_DESCRIPTORS = 1 << 19  # held at once, beside those of one picture: 64 MB, and as much in tiles


@dataclass(frozen=True, slots=True)
class Verification:
    """How pictures are compared by their keypoints. Raises InputError for what cannot be."""

    # Measured, 150 altered photographs, shortlists of 100: at 0.7 geometry is looked for in 15 pictures, at 0.8 in 66,
    # and the original comes first as often
    ratio: float = 0.7
    model: Model = "homography"  # or "similarity"; many things lie along the lines of a fundamental matrix by chance
    threshold: float = 3.0  # pixels of the gallery's picture as SIFT saw it
    shortlist: int = SHORTLIST  # pictures that geometry is looked for in, at most
    backend: str = "cpu"  # that matches; geometry is the CPU's
    threads: int | None = None  # of matching and geometry; None: all this process may use

    def __post_init__(self) -> None:
        checked_count("shortlist", self.shortlist)
        nothing = np.empty((0, 2), np.float32)
        verify(nothing, nothing, model=self.model, threshold=self.threshold)  # says what is wrong with these
        if self.model == "fundamental":
            raise InputError("model must be 'homography' or 'similarity' here, is 'fundamental'")
        check_ratio(self.ratio)
        if self.threads is not None:
            checked_count("threads", self.threads)


DEFAULT = Verification()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for each of n pictures."""

    matches: Rows  # [n] keypoints that are matched
    inliers: Rows  # [n] of these, 0 where it is no evidence

    def order(self, distances: NDArray[np.floating], keys: Rows) -> Rows:
        """A permutation [n]: most inliers first, then the smaller of `distances` [n], then the lower key."""
        return np.lexsort((keys, distances, -self.inliers))


class KeypointSearch:
    """The keypoints of a gallery, to be compared with a query's."""

    def __init__(self, gallery: VectorGallery, options: SiftOptions, how: Verification = DEFAULT) -> None:
        """`options` are those by which the gallery's keypoints were found.

        OpenCV works in one thread from then on, in the whole process. Raises GalleryError for a gallery that keeps no
        keypoints.
        """
        if gallery.keypoints is None:
            raise no_keypoints(gallery)
        self._gallery = gallery
        self._stored: StoredKeypoints = gallery.keypoints
        self.options, self._how = options, how
        self._threads = available_threads() if how.threads is None else how.threads
        single_threaded()

    def features_of(self, key: int) -> Features:
        """The keypoints of one of its own pictures. Raises InputError for a key that it has not."""
        found = self._stored.keypoints(self._rows_of(np.array([key])))
        return Features(found.points, found.sizes, found.angles, found.responses, found.descriptors)

    def evidence(self, query: Features, keys: Rows) -> Evidence:
        """For the pictures of `keys` [n]; a shortlist of them, those of most matches, may have inliers."""
        rows = self._rows_of(keys)
        matches = [each for part in self._parts(rows) for each in self._matches(query, rows[part])]
        counts = np.array([len(each) for each in matches], np.int64)
        likely = np.argsort(-counts, kind="stable")[: self._how.shortlist]
        likely = likely[counts[likely] >= LEAST_INLIERS]
        inliers = np.zeros(len(rows), np.int64)
        inliers[likely] = self._inliers(query, rows[likely], [matches[at] for at in likely.tolist()])
        return Evidence(counts, inliers)

    def rank(self, query: Features, k: int, *, keys: Rows | None = None) -> tuple[Rows, Evidence]:
        """The k pictures of most inliers, then of most matches, then of lowest key: keys [k], and what speaks for them.

        All of the gallery are matched, or those of `keys`, and the shortlist of most matches verified.
        """
        keys = self._gallery.keys if keys is None else keys
        rows = self._rows_of(keys)
        counts = [len(each) for part in self._parts(rows) for each in self._matches(query, rows[part])]
        likely = np.lexsort((keys, -np.array(counts, np.int64)))[: max(k, self._how.shortlist)]
        found = self.evidence(query, keys[likely])
        order = np.lexsort((keys[likely], -found.matches, -found.inliers))[:k]
        return keys[likely][order], Evidence(found.matches[order], found.inliers[order])

    def _rows_of(self, keys: Rows) -> Rows:
        return self._gallery.rows_with(keys)

    def _parts(self, rows: Rows) -> Iterator[slice]:
        """Stretches of the rows whose descriptors can be held together."""
        return stretches(self._stored.counts(rows), _DESCRIPTORS)

    def _matches(self, query: Features, rows: Rows) -> list[Matches]:
        """The matches of each picture, with each of its keypoints once: by the query's nearest of those it matches."""
        how = self._how
        found = match_one_to_many(
            query.descriptors, DescriptorSets(*self._stored.take(rows)), ratio=how.ratio, backend=how.backend,
            threads=self._threads,
        )  # fmt: skip
        order = np.lexsort((found.query, found.distance, found.train, found.train_set))
        at, which = found.train[order], found.train_set[order]
        is_first = np.ones(len(order), np.bool_)
        is_first[1:] = (at[1:] != at[:-1]) | (which[1:] != which[:-1])
        kept = np.sort(order[is_first])  # by picture, then query, as they were
        ends = np.searchsorted(found.train_set[kept], np.arange(len(rows) + 1))
        parts = [kept[start:stop] for start, stop in pairwise(ends.tolist())]
        return [Matches(found.query[part], found.train[part], found.distance[part]) for part in parts]

    def _inliers(self, query: Features, rows: Rows, matches: Sequence[Matches]) -> list[int]:
        """How many matches of each picture its geometry explains, if that is evidence."""
        if not len(rows):
            return []
        points, offsets = self._stored.points(rows), np.cumsum([0, *self._stored.counts(rows)])
        heights, widths = self._sizes

        def verified(at: int) -> int:
            there = points[offsets[at] : offsets[at + 1]][matches[at].train]
            size = int(heights[rows[at]]), int(widths[rows[at]])
            return self._verified(query.points[matches[at].query], there, size)

        return _mapped(verified, range(len(rows)), self._threads)

    def _verified(self, a: NDArray[np.float32], b: NDArray[np.float32], size: tuple[int, int]) -> int:
        threshold = self._how.threshold * pixels_per_step(*size, self.options)
        found = verify(a, b, model=self._how.model, threshold=threshold)
        if found.matrix is None or found.num_inliers < LEAST_INLIERS:
            return 0
        if not 1 / _MOST_CHANGE <= _change(found.matrix, a[found.is_inlier]) <= _MOST_CHANGE:
            return 0
        alarms = log_false_alarms(
            found.num_inliers, len(a), model=self._how.model, threshold=threshold, height=size[0], width=size[1]
        )
        return found.num_inliers if alarms <= _MOST_ALARMS else 0

    @cached_property
    def _sizes(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Heights and widths of all rows."""
        columns = self._gallery.all_rows.columns(["height", "width"])
        return columns.column("height").to_numpy(), columns.column("width").to_numpy()


def no_keypoints(gallery: VectorGallery) -> GalleryError:
    """What to say of a gallery that keeps none."""
    return GalleryError(
        f"gallery {gallery.path} keeps no keypoints to compare; make one with `semblance embed ... --sift`"
    )


def _change(matrix: NDArray[np.float64], points: NDArray[np.float32]) -> float:
    """By what factor a homography changes the area about the middle of `points` [n, 2]; below 0 where it mirrors."""
    depth = float(matrix[2] @ (*points.mean(axis=0, dtype=np.float64), 1))
    return float(np.linalg.det(matrix)) / depth**3 if depth else 0.0


@dataclass(frozen=True, slots=True)
class Verified(Neighbours):
    """Neighbours with what speaks for each; their distances are NaN where no embeddings were compared."""

    matches: Rows  # [Q, k] 0 behind what was found
    inliers: Rows  # [Q, k]


def in_order(search: KeypointSearch, queries: Iterable[Features], near: Neighbours, k: int) -> Verified:
    """The shortlists `near` of Q queries, each in the order of `Evidence.order`, and of each the first k."""
    found = []
    for row, query in enumerate(queries):
        count = int(near.counts[row])
        keys, distances = near.keys[row, :count], near.distances[row, :count]
        evidence = search.evidence(query, keys)
        first = evidence.order(distances, keys)[:k]
        found.append((keys[first], distances[first], evidence.matches[first], evidence.inliers[first]))
    return _together(found, k)


def ranked(search: KeypointSearch, queries: Iterable[Features], k: int, *, keys: Rows | None = None) -> Verified:
    """The k pictures that `KeypointSearch.rank` finds for each query."""
    found = []
    for query in queries:
        first, evidence = search.rank(query, k, keys=keys)
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
