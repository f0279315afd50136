"""Joins the parts of this wing for two pictures: keypoints, their matches, and the geometry of the matches.

In: two pictures as paths, encoded bytes or arrays. Out: `PicturePair`, with all that was found on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance.inputs.decode import decode
from semblance.local.geometry import Geometry, Model, verify
from semblance.local.matching import RATIO, Matches, match, score
from semblance.local.sift import DEFAULT, Features, SiftOptions, extract, pixels_per_step

Picture = Path | str | bytes | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PicturePair:
    """What picture a and picture b have in common."""

    a: Features
    b: Features
    matches: Matches  # of a's keypoints, M of them
    geometry: Geometry  # of the matches: its mask is [M]
    model: Model  # what kind of geometry
    size_a: tuple[int, int]  # height and width in pixels
    size_b: tuple[int, int]

    @property
    def score(self) -> float:
        """`100 * matches / min(K1, K2)`."""
        return score(len(self.matches), len(self.a), len(self.b))

    @property
    def pairs(self) -> NDArray[np.int64]:
        """Which keypoint of a and which of b each match joins, [M, 2]."""
        return np.stack([self.matches.query, self.matches.train], axis=1)

    @property
    def outline(self) -> NDArray[np.float64] | None:
        """The corners of a where the geometry puts them in b, [4, 2], clockwise in a from the top left.

        None where there is no geometry, where it tells no places (a fundamental matrix), and where part of a would lie
        behind whoever looks at b.
        """
        if self.geometry.matrix is None or self.model == "fundamental":
            return None
        height, width = self.size_a
        x, y = width - 0.5, height - 0.5  # edges of pixels, whose centres are whole numbers
        corners = np.array([(-0.5, -0.5, 1), (x, -0.5, 1), (x, y, 1), (-0.5, y, 1)])
        projected = corners @ self.geometry.matrix.T  # [4, 3]
        depth = projected[:, 2:]
        if not ((depth > 0).all() or (depth < 0).all()):
            return None
        return np.asarray(projected[:, :2] / depth, np.float64)


def match_pictures(
    a: Picture,
    b: Picture,
    options: SiftOptions = DEFAULT,
    *,
    ratio: float = RATIO,
    mutual: bool = False,
    model: Model = "homography",
    threshold: float = 1.5,
    backend: str = "cpu",
    threads: int | None = None,
) -> PicturePair:
    """Match the keypoints of two pictures, and find what the matches agree on. Options are those of the parts, but for
    `threshold`: pixels of b as SIFT sees it, shrunk to `longest_side`.

    Raises ImageError for what is no usable picture, InputError for options out of range, BackendError, RuntimeMissing.

    >>> flat = np.zeros((28, 28), np.uint8)
    >>> found = match_pictures(flat, flat)
    >>> len(found.matches), found.score, found.geometry.matrix
    (0, 0.0, None)
    """
    pixels_a, pixels_b = decode(a, channels=1), decode(b, channels=1)  # [H, W, 1], as `extract` would
    features_a, features_b = extract(pixels_a, options), extract(pixels_b, options)
    matches = match(
        features_a.descriptors, features_b.descriptors, ratio=ratio, mutual=mutual, backend=backend, threads=threads
    )
    points_a, points_b = features_a.points[matches.query], features_b.points[matches.train]
    sizes = [(pixels.shape[0], pixels.shape[1]) for pixels in (pixels_a, pixels_b)]
    geometry = verify(points_a, points_b, model=model, threshold=threshold * pixels_per_step(*sizes[1], options))
    return PicturePair(features_a, features_b, matches, geometry, model, *sizes)
