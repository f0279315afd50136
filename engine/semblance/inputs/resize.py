"""A picture brought to the size a model eats.

In: [H, W, C] uint8 and the size, kernel and crop of a model's card. Out: [height, width, C] uint8. The kernel belongs
to the model: the same picture through another kernel is another vector.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.card import Crop, ModelCard, Resize
from semblance.errors import ImageError, InputError

_KERNELS = {
    "bilinear": cv2.INTER_LINEAR,  # half-pixel centres, no antialiasing
    "bicubic": cv2.INTER_CUBIC,  # a = -0.75, no antialiasing
    "nearest": cv2.INTER_NEAREST_EXACT,  # half-pixel centres; INTER_NEAREST is off by up to a pixel
}
_FLOAT_VALUES = 1 << 22  # 16 MB as float32
_LONG = 1 << 16  # pixels; beyond, INTER_AREA's tables, 24 bytes a pixel of this side, can outgrow the picture itself


def fit(pixels: NDArray[np.uint8], card: ModelCard) -> NDArray[np.uint8]:
    """[H, W, C] uint8, C = 1 or 3 -> [card.height, card.width, C] uint8, by the kernel and crop of a model's card.

    Raises ImageError for an array of another form.
    """
    return resize(pixels, height=card.height, width=card.width, resize=card.resize, crop=card.crop)


def resize(
    image: NDArray[np.uint8], *, height: int, width: int, resize: Resize = "area", crop: Crop = "none"
) -> NDArray[np.uint8]:
    """[H, W, C] uint8, C = 1 or 3 -> [height, width, C] uint8; of the right size already: returned as it is.

    `resize="area"` averages over the covered pixels along an axis that shrinks and is bilinear along one that grows.
    `crop="none"` squeezes the whole picture; "center" keeps its middle: the largest part of the target's proportions,
    cut at whole pixels before scaling, so that a thread-thin picture does not grow to a huge one in between.
    Raises ImageError for an array of another form, InputError for an unknown kernel or crop or a size below 1.
    """
    _check(image, height, width, resize, crop)
    if image.shape[:2] == (height, width):
        return image
    if crop == "center":
        image = _center(image, height, width)
    if resize == "area":
        for axis, side in enumerate((height, width)):
            if image.shape[axis] > _LONG and image.shape[axis] > side:
                image = _average(image, side, axis)
        # INTER_AREA turns bilinear on both axes as soon as one of them grows: each axis gets its own pass
        image = _shrink(image, min(height, image.shape[0]), min(width, image.shape[1]))
        return _scale(image, height, width, cv2.INTER_LINEAR)
    return _scale(image, height, width, _KERNELS[resize])


def _check(image: NDArray[np.uint8], height: int, width: int, resize: str, crop: str) -> None:
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape[2] not in (1, 3) or image.size == 0:
        raise ImageError(
            f"an array of {image.dtype} {list(image.shape)} cannot be resized; expected uint8 [H, W, 1] or [H, W, 3] "
            "with pixels; semblance.inputs.decode makes one of any picture"
        )
    if height < 1 or width < 1:
        raise InputError(f"height and width must be at least 1, are {height} and {width}")
    if resize != "area" and resize not in _KERNELS:
        raise InputError(f"resize must be one of {['area', *_KERNELS]}, is {resize!r}")
    if crop not in ("none", "center"):
        raise InputError(f"crop must be 'none' or 'center', is {crop!r}")


def _center(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The largest centred part of the proportions height : width."""
    rows, columns = image.shape[:2]
    kept_rows = max(1, min(rows, round(columns * height / width)))
    kept_columns = max(1, min(columns, round(rows * width / height)))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    return image[top : top + kept_rows, left : left + kept_columns]


def _shrink(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """INTER_AREA, to no more than the picture's own sides.

    OpenCV sums in float32 whatever it is given, and turns bytes into that one by one: a picture that is float32 already
    takes .65 to .75 of the time and gives the same bytes. By whole numbers it sums bytes as integers, and rounds
    otherwise.
    """
    is_whole = image.shape[0] % height == 0 and image.shape[1] % width == 0
    if is_whole or image.size > _FLOAT_VALUES:
        return _scale(image, height, width, cv2.INTER_AREA)
    scaled = cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    rounded = cv2.convertScaleAbs(scaled).astype(np.uint8, copy=False)
    return rounded.reshape(height, width, image.shape[2])  # OpenCV drops an axis of 1


def _scale(image: NDArray[np.uint8], height: int, width: int, kernel: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (height, width):
        return image
    scaled = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=kernel)
    return scaled.astype(np.uint8, copy=False).reshape(height, width, image.shape[2])  # OpenCV drops an axis of 1


def _average(image: NDArray[np.uint8], side: int, axis: int) -> NDArray[np.uint8]:
    """INTER_AREA along one long axis, part by part: the mean over the pixels below it, the two at its ends by share."""
    along = np.moveaxis(image, axis, 0)
    length = len(along)
    out = np.empty((side, *along.shape[1:]), np.uint8)
    for part in range(side):
        start, end = part * length / side, (part + 1) * length / side
        first, last = int(start), min(int(end), length - 1)
        total = along[first:last].sum(axis=0, dtype=np.uint64) - along[first] * (start - first)
        out[part] = np.rint(np.clip((total + along[last] * (end - last)) / (end - start), 0, 255))
    return np.moveaxis(out, 0, axis)
