"""Pictures -> SIFT keypoints and descriptors, the strongest first.

In: pictures as paths, encoded bytes or uint8 arrays. Out: `Features`, which depend on the pixels and the options and on
nothing else: not on threads, nor on the order in which OpenCV finds them. The rules:

    colour         grey, as `inputs.decode` makes it
    size           shrunk by INTER_AREA to `longest_side`, never grown; points and sizes are those of the whole picture
    detector       cv2.SIFT as OpenCV sets it up (Lowe, "Distinctive image features from scale-invariant keypoints",
                   IJCV 2004), and so with its known shift: points lie a quarter of a pixel right of and below the true
                   place, which OpenCV's own option enable_precise_upscale would mend and the published figures have not
    descriptors    OpenCV gives whole numbers of 0 to 255 as floats; they are kept as bytes, and nothing is lost
    order          by response, the largest first; equal ones by y, x, size and angle, all rising. One point with two
                   orientations is two keypoints of equal response, so `max_keypoints` may cut between them
    none at all    a flat, tiny or empty-looking picture has no keypoints, which is no error

A picture takes about 210 bytes of memory for each pixel that is left of it, since SIFT doubles it and keeps eleven
copies as floats: 220 MB at 1024 x 1024.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.container import available_threads
from semblance.errors import ImageError, InputError
from semblance.inference.batches import work_ahead
from semblance.inputs.decode import decode, single_threaded
from semblance.inputs.decoders import said_by_opencv
from semblance.inputs.resize import resize
from semblance.local.descriptors import DIMENSION
from semblance.options import checked_count

_DESCRIPTOR_NORM = 512  # OpenCV scales unit descriptors by it before it rounds them to bytes (SIFT_INT_DESCR_FCTR)
_MOST_KEYPOINTS = (1 << 31) - 1  # OpenCV's int

_CHUNK = 64  # pictures of 28 x 28, about 16 ms of work: handed over one by one they would cost as much again
_CHUNK_PIXELS = 1 << 16  # a chunk of larger pictures is shorter, so that every thread has some
_PIXELS_PER_BYTE = 8  # of an encoded picture, roughly


@dataclass(frozen=True, slots=True)
class Features:
    """The K keypoints of one picture and their descriptors, strongest first."""

    points: NDArray[np.float32]  # [K, 2] x and y in pixels of the whole picture; its top-left pixel's centre is 0, 0
    sizes: NDArray[np.float32]  # [K] diameter in pixels of the whole picture
    angles: NDArray[np.float32]  # [K] degrees, 0-360, clockwise as the picture is seen
    responses: NDArray[np.float32]  # [K] contrast at the keypoint, falling
    descriptors: NDArray[np.uint8]  # [K, 128]

    def __len__(self) -> int:
        """How many keypoints there are."""
        return len(self.points)


@dataclass(frozen=True, slots=True)
class SiftOptions:
    """How keypoints are found and described. Raises InputError for what cannot be asked for."""

    max_keypoints: int | None = 512  # the strongest; None: all
    longest_side: int | None = 1024  # pixels; larger pictures are shrunk to it; None: none is
    contrast_threshold: float = 0.04  # weaker keypoints are dropped; OpenCV's default
    is_root: bool = False  # RootSIFT (Arandjelovic and Zisserman, CVPR 2012), rounded to bytes: not exact

    def __post_init__(self) -> None:
        for name in ("max_keypoints", "longest_side"):
            if getattr(self, name) is not None:
                checked_count(name, getattr(self, name))
        threshold = self.contrast_threshold
        if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 <= threshold < math.inf:
            raise InputError(f"contrast_threshold must be a finite number of at least 0, is {threshold!r}")
        if not isinstance(self.is_root, bool):
            raise InputError(f"is_root must be True or False, is {self.is_root!r}")


DEFAULT = SiftOptions()


def extract(picture: Path | str | bytes | NDArray[np.uint8], options: SiftOptions = DEFAULT) -> Features:
    """The keypoints of a file, encoded bytes or an array uint8 [H, W], [H, W, 1] or [H, W, 3] RGB.

    Raises ImageError for what is no usable picture, and where there is no memory for SIFT's copies of a large one.

    >>> len(extract(np.zeros((28, 28), np.uint8)))
    0
    """
    pixels = decode(picture, channels=1)
    height, width = pixels.shape[:2]
    pixels = _shrunk(pixels, options.longest_side)
    # One for each call, so that threads share none: to make one takes half a microsecond
    sift = cv2.SIFT.create(
        nfeatures=min(options.max_keypoints or 0, _MOST_KEYPOINTS),  # 0: all. Ties with the last one come as well
        contrastThreshold=float(options.contrast_threshold),
    )
    try:
        keypoints, floats = sift.detectAndCompute(np.ascontiguousarray(pixels[:, :, 0]), None)
    except cv2.error as error:
        raise ImageError(
            f"SIFT of {pixels.shape[0]} x {pixels.shape[1]} pixels: OpenCV refuses it ({said_by_opencv(error)}); "
            "give a smaller longest_side"
        ) from error
    # The row decides nothing: OpenCV leaves no two keypoints that are alike in the five before it
    found = sorted(
        (-each.response, each.pt[1], each.pt[0], each.size, each.angle, row) for row, each in enumerate(keypoints)
    )[: options.max_keypoints]
    table = np.array(found, np.float64).reshape(-1, 6)  # [K, 6]; float64 holds all of them exactly
    points, sizes = table[:, 2:0:-1], table[:, 3]
    if pixels.shape[:2] != (height, width):
        scale_x, scale_y = width / pixels.shape[1], height / pixels.shape[0]
        points = (points + 0.5) * (scale_x, scale_y) - 0.5
        sizes = sizes * math.sqrt(scale_x * scale_y)
    descriptors = _to_bytes(floats)[table[:, 5].astype(np.intp)]
    return Features(
        points=points.astype(np.float32, order="C"),
        sizes=sizes.astype(np.float32),
        angles=table[:, 4].astype(np.float32),
        responses=(-table[:, 0]).astype(np.float32),
        descriptors=_to_root(descriptors) if options.is_root else descriptors,
    )


def extract_all(
    pictures: Iterable[Path | str | bytes | NDArray[np.uint8]],
    options: SiftOptions = DEFAULT,
    *,
    workers: int | None = None,
) -> Iterator[Features]:
    """`extract` of each picture, in order, worked ahead in threads while the caller looks at earlier ones.

    `workers` defaults to as many as the process may use; their OpenCV works in one thread each from then on, in the
    whole process. 0: all in the caller's thread. The ImageError of a picture is raised in its place and ends the rest.
    """
    workers = available_threads() if workers is None else checked_count("workers", workers, least=0)
    if workers:
        single_threaded()
    return work_ahead(
        pictures,
        lambda picture: extract(picture, options),
        workers=workers,
        chunk=_CHUNK,
        weigh=_guessed_pixels,
        most_weight=2 * max(1, workers) * _CHUNK_PIXELS,
    )


def pixels_per_step(height: int, width: int, options: SiftOptions = DEFAULT) -> float:
    """How many pixels of a whole picture one pixel of what SIFT sees of it is: 1 or more.

    A keypoint's place is known to about a pixel of the shrunk picture, not of the whole one.
    """
    return 1.0 if options.longest_side is None else max(1.0, max(height, width) / options.longest_side)


def _guessed_pixels(picture: Path | str | bytes | NDArray[np.uint8]) -> int:
    """A file's are not known before it is opened: it fills a chunk."""
    if isinstance(picture, np.ndarray):
        return picture.size
    return _PIXELS_PER_BYTE * len(picture) if isinstance(picture, bytes) else _CHUNK_PIXELS


def _shrunk(pixels: NDArray[np.uint8], longest_side: int | None) -> NDArray[np.uint8]:
    """[H, W, 1] with no side above `longest_side`, in proportion to the nearest whole pixel."""
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest_side is None or longest <= longest_side:
        return pixels
    rows, columns = (max(1, round(side * longest_side / longest)) for side in (height, width))
    return resize(pixels, height=rows, width=columns, resize="area")


def _to_bytes(floats: NDArray[np.generic] | None) -> NDArray[np.uint8]:
    """OpenCV's descriptors, which are whole numbers of 0 to 255, as bytes; it gives None where there is none."""
    if floats is None:
        return np.empty((0, DIMENSION), np.uint8)
    descriptors = floats.astype(np.uint8)
    if floats.shape[1:] != (DIMENSION,) or not (descriptors == floats).all():
        raise AssertionError("OpenCV's SIFT descriptors are not [K, 128] whole numbers of 0 to 255")  # also under -O
    return descriptors


def _to_root(descriptors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[K, 128] -> the square roots of their shares in the sum, scaled and cut as OpenCV scales and cuts its own."""
    sums = descriptors.sum(axis=1, keepdims=True, dtype=np.int64)  # [K, 1]
    roots = np.sqrt(descriptors / np.maximum(sums, 1))
    scaled: NDArray[np.float64] = np.minimum(np.rint(_DESCRIPTOR_NORM * roots), 255)
    return scaled.astype(np.uint8)
