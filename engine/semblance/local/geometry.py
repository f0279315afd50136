"""Pairs of points of two pictures -> the geometry that most of them agree on, and which of them do.

In: points of picture a and the points of picture b that they were matched with. Out: a 3 x 3 matrix and a mask, or no
matrix and no inlier; a search that finds nothing is an answer, not an error. The rules:

    error          of a homography or similarity the distance in b between where a point is and where the matrix puts
                   it; of a fundamental matrix Sampson's distance, which lies between those to the two epipolar lines
    evidence       a model that explains no more pairs than determine it (4, 7 and 2) explains nothing: inliers must
                   have more different points than that in a, and in b; one keypoint of two orientations is one place
    degenerate     inliers that lie on one line to within the threshold determine neither homography (looked at in b)
                   nor fundamental matrix (in a and in b), those that lie in one place no similarity (in b)
    chance         pairs at random agree on something: a homography on 4 or 5 of 500 in 1000 x 1000 pixels, a
                   fundamental matrix on 15, a similarity on 3, and on more in smaller pictures: `log_false_alarms`
    repetition     the same pairs in the same order give the same answer, in any thread: each search draws from a
                   generator of its own that always starts alike, and cv2.setRNGSeed changes nothing. Another order of
                   the pairs is another search

Mirrored, folded or absurdly scaled models are not refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.errors import InputError
from semblance.options import checked_count

Model = Literal["homography", "fundamental", "similarity"]

_NUM_MINIMAL: dict[Model, int] = {"homography": 4, "fundamental": 7, "similarity": 2}  # pairs that determine it

# Each search may settle on a model that competes with the true one, and which it finds depends on the order of the
# pairs: so two are made, in opposite orders, and the one that more pairs agree on is taken. Measured, the 675 pairs of
# graf at ratio 0.8 in 8 and 12 orders: how often 94 % of the inliers are within 5 pixels of the truth, and milliseconds
#   one search   USAC_MAGSAC 2 of 8, 2.8     USAC_DEFAULT 6 of 8, 4.7      USAC_FAST 6 of 8, 1.5
#   two          USAC_MAGSAC 1 of 12, 3.7    USAC_DEFAULT 12 of 12, 9.0    USAC_FAST 12 of 12, 2.8
# On adam, boat, city and WhiteBoard all of them are always right. They are what OpenCV has of Raguram et al., "USAC: A
# universal framework for random sample consensus", PAMI 2013.
_USAC = cv2.USAC_FAST


@dataclass(frozen=True, slots=True)
class Geometry:
    """What M pairs of points agree on."""

    matrix: NDArray[np.float64] | None  # [3, 3] from a to b, see `verify`; None: they agree on nothing
    is_inlier: NDArray[np.bool_]  # [M]; all False where there is no matrix

    @property
    def num_inliers(self) -> int:
        """How many pairs agree."""
        return int(np.count_nonzero(self.is_inlier))

    @property
    def inlier_ratio(self) -> float:
        """The share of the pairs that agree, 0.0 to 1.0; 0.0 where there are no pairs."""
        return self.num_inliers / len(self.is_inlier) if len(self.is_inlier) else 0.0


def verify(
    points_a: NDArray[np.float32],
    points_b: NDArray[np.float32],
    *,
    model: Model = "homography",
    threshold: float = 1.5,
    max_iterations: int = 10_000,
    confidence: float = 0.9999,
) -> Geometry:
    """The geometry of M pairs: row i of float32 [M, 2] in a, x and y in pixels, belongs to row i in b.

    A "homography" takes a to b by b ~ matrix @ (x, y, 1); so does a "similarity" (turn, one scale, shift), whose last
    row is 0, 0, 1. Of a "fundamental" matrix, (b, 1) @ matrix @ (a, 1) = 0. `threshold` is an inlier's largest error in
    pixels. The search ends when a better model is less likely than 1 - `confidence`, or after `max_iterations` samples,
    which are too few to be sure of a homography of which only a tenth of the pairs are inliers.
    Raises InputError: other shapes or dtypes, points that are not finite, an unknown model, options out of range.
    """
    _check_options(model, threshold, max_iterations, confidence)
    _check_points(points_a, points_b)
    nothing = Geometry(None, np.zeros(len(points_a), np.bool_))
    if len(points_a) <= _NUM_MINIMAL[model]:
        return nothing
    a, b = np.ascontiguousarray(points_a), np.ascontiguousarray(points_b)
    found = _verified(a, b, model, float(threshold), max_iterations, float(confidence))
    if model == "similarity":  # OpenCV's only search for it draws so many samples that the order hardly matters
        return found or nothing
    other = _verified(a[::-1].copy(), b[::-1].copy(), model, float(threshold), max_iterations, float(confidence))
    if other is not None and (found is None or other.num_inliers > found.num_inliers):
        return Geometry(other.matrix, other.is_inlier[::-1].copy())
    return found or nothing


def log_false_alarms(
    num_inliers: int, num_pairs: int, *, model: Model, threshold: float, height: float, width: float
) -> float:
    """How often so many inliers would come about among pairs of points at random, as log10 of an expected number.

    By the a-contrario reasoning of Moisan and Stival ("A probabilistic criterion to detect rigid point matches between
    two images and estimate the fundamental matrix", IJCV 2004): of n = `num_pairs` pairs, k inliers and a model laid
    through its minimal sample of s, (n - s) C(n, k) C(k, s) p^(k - s), p being the share of picture b, `height` x
    `width` pixels, that lies within `threshold` of a place, or for a fundamental matrix of a line.
    """
    sample, diagonal = _NUM_MINIMAL[model], math.hypot(height, width)
    if num_inliers <= sample or num_pairs <= sample:
        return math.inf
    near = 2 * threshold * diagonal if model == "fundamental" else math.pi * threshold**2
    share = min(1.0, near / (height * width))
    choices = _log_choices(num_pairs, num_inliers) + _log_choices(num_inliers, sample)
    return math.log10(num_pairs - sample) + choices + (num_inliers - sample) * math.log10(share)


def _log_choices(number: int, chosen: int) -> float:
    """log10 of the binomial coefficient."""
    return (math.lgamma(number + 1) - math.lgamma(chosen + 1) - math.lgamma(number - chosen + 1)) / math.log(10)


def _verified(
    a: NDArray[np.float32], b: NDArray[np.float32], model: Model, threshold: float, iterations: int, confidence: float
) -> Geometry | None:
    """What one search finds, where it is evidence."""
    # cv2.error: OpenCV found nothing to begin with. Its way to say so differs between models and versions
    try:
        matrix, mask = _search(a, b, model, threshold, iterations, confidence)
    except cv2.error:
        if model != "fundamental":
            return None
        try:  # of points on a plane, which many such matrices fit, USAC may end with none; the plain search has one
            matrix, mask = _search(a, b, model, threshold, iterations, confidence, method=cv2.FM_RANSAC)
        except cv2.error:
            return None
    if matrix is None or matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        return None
    is_inlier = mask.reshape(-1) != 0  # [M]
    return Geometry(matrix, is_inlier) if _is_evidence(a[is_inlier], b[is_inlier], model, threshold) else None


def _search(
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    model: Model,
    threshold: float,
    iterations: int,
    confidence: float,
    method: int = _USAC,
) -> tuple[NDArray[np.float64] | None, NDArray[np.generic]]:
    """OpenCV's matrix [3, 3] or something else, and its mask [M, 1]."""
    found: NDArray[np.generic] | None
    if model == "homography":
        found, mask = cv2.findHomography(a, b, method, threshold, maxIters=iterations, confidence=confidence)
    elif model == "fundamental":
        found, mask = cv2.findFundamentalMat(a, b, method, threshold, confidence, iterations)
    else:  # it has no USAC
        found, mask = cv2.estimateAffinePartial2D(
            a, b, method=cv2.RANSAC, ransacReprojThreshold=threshold, maxIters=iterations, confidence=confidence
        )
        if found is not None and found.shape == (2, 3):
            found = np.vstack([found, [0.0, 0.0, 1.0]])
    return (None if found is None else found.astype(np.float64)), mask


def _is_evidence(a: NDArray[np.float32], b: NDArray[np.float32], model: Model, threshold: float) -> bool:
    """Whether inliers [n, 2] are in more places than any model of the kind could be laid through."""
    if min(len(np.unique(points, axis=0)) for points in (a, b)) <= _NUM_MINIMAL[model]:
        return False
    if model == "similarity":
        return bool(np.ptp(b.astype(np.float64), axis=0).max() > threshold)
    return not _is_line(b, threshold) and (model == "homography" or not _is_line(a, threshold))


def _is_line(points: NDArray[np.float32], threshold: float) -> bool:
    """Whether all of [n, 2], n > 0, lie within `threshold` of the line that fits them best."""
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    across = np.linalg.eigh(centred.T @ centred)[1][:, 0]  # [2], the direction of least spread
    return bool(np.abs(centred @ across).max() <= threshold)


def _check_points(points_a: NDArray[np.float32], points_b: NDArray[np.float32]) -> None:
    for name, points in (("points_a", points_a), ("points_b", points_b)):
        if not isinstance(points, np.ndarray):
            raise InputError(f"{name} must be float32 [M, 2], is a {type(points).__name__}")
        if points.dtype != np.float32 or points.ndim != 2 or points.shape[1] != 2:
            raise InputError(f"{name} must be float32 [M, 2], is {points.dtype} {list(points.shape)}")
        if not np.isfinite(points).all():
            row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
            raise InputError(f"{name} must be finite, row {row} is {points[row].tolist()}")
    if len(points_a) != len(points_b):
        raise InputError(f"points_a and points_b must be as many, are {len(points_a)} and {len(points_b)}")


def _check_options(model: str, threshold: float, max_iterations: int, confidence: float) -> None:
    if model not in get_args(Model):
        raise InputError(f"model must be one of {', '.join(get_args(Model))}, is {model!r}")
    if not _is_between(threshold, 0, math.inf):
        raise InputError(f"threshold must be a finite number of pixels above 0, is {threshold!r}")
    if not _is_between(confidence, 0, 1):
        raise InputError(f"confidence must lie between 0 and 1, is {confidence!r}")
    if checked_count("max_iterations", max_iterations) >= 1 << 31:
        raise InputError(f"max_iterations must be below 2**31, which OpenCV counts to, is {max_iterations}")


def _is_between(value: object, low: float, high: float) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and low < float(value) < high
