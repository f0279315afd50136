"""Changes of a gallery as bytes between two processes of one machine: no object of the sender's is ever made from them.

In: a picture's row, vector and keypoints, or an error. Out: a frame, and back. A frame is two lengths as little-endian
uint32, a JSON object of the first and plain arrays of the second, one after the other:

    embedding    float32 [D]
    points       float32 [K, 2]
    sizes, angles, responses  float32 [K] each
    descriptors  uint8 [K, 128]
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance import errors
from semblance.errors import GalleryError, InputError, SemblanceError
from semblance.gallery.keypoints import DESCRIPTOR_BYTES, KEYPOINT_BYTES, Keypoints
from semblance.gallery.shards import Row
from semblance.gallery.stored_keypoints import PictureKeypoints

MAX_FRAME_BYTES = 64 << 20  # 400,000 keypoints
_LENGTHS = struct.Struct("<II")
_ERRORS = {
    each.__name__: each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, SemblanceError)
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it came."""

    header: Mapping[str, Any]  # it has an integer "id"
    body: bytes


def sized(header: Mapping[str, Any], body: bytes = b"") -> bytes:
    """A frame."""
    encoded = json.dumps(header, separators=(",", ":")).encode()  # ASCII, which also holds names that are no UTF-8
    return b"".join([_LENGTHS.pack(len(encoded), len(body)), encoded, body])


async def read_frame(reader: asyncio.StreamReader, max_bytes: int = MAX_FRAME_BYTES) -> Frame | None:
    """The next frame; None where the connection ended between two. Raises GalleryError for what is none."""
    try:
        num_header, num_body = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
        if num_header + num_body > max_bytes:
            raise GalleryError(f"a frame of {num_header + num_body} bytes, of which there may be {max_bytes}")
        header = json.loads(await reader.readexactly(num_header))
        body = await reader.readexactly(num_body)
    except asyncio.IncompleteReadError as error:
        if not error.partial and error.expected == _LENGTHS.size:
            return None
        raise GalleryError("a frame broke off") from None
    except ValueError as error:
        raise GalleryError(f"a frame without JSON ({error})") from None
    if not isinstance(header, dict) or not isinstance(header.get("id"), int):
        raise GalleryError("a frame without a number")
    return Frame(header, body)


def put_frame(
    number: int,
    row: Row,
    vector: NDArray[np.float32],
    keypoints: Keypoints | None = None,
    max_bytes: int = MAX_FRAME_BYTES,
) -> bytes:
    """A picture to be stored. Raises InputError where it is too much for one frame."""
    body = np.ascontiguousarray(vector, "<f4").tobytes()
    if keypoints is not None:
        floats = (keypoints.points, keypoints.sizes, keypoints.angles, keypoints.responses)
        body += b"".join(np.ascontiguousarray(each, "<f4").tobytes() for each in floats)
        body += np.ascontiguousarray(keypoints.descriptors, np.uint8).tobytes()
    header = {
        "id": number,
        "do": "put",
        "row": {**asdict(row), "columns": dict(row.columns)},
        "dimension": len(vector),
        "num_keypoints": None if keypoints is None else len(keypoints),
    }
    frame = sized(header, body)
    if len(frame) - _LENGTHS.size > max_bytes:
        raise InputError(
            f"the picture's row, vector and {0 if keypoints is None else len(keypoints)} keypoints are {len(frame)} "
            f"bytes, of which {max_bytes} can be brought to the process that writes; store fewer keypoints"
        )
    return frame


def put_in(frame: Frame) -> tuple[Row, NDArray[np.float32], PictureKeypoints | None]:
    """What `put_frame` was given. Raises GalleryError for a frame that it did not make."""
    try:
        row, dimension, num_keypoints = frame.header["row"], frame.header["dimension"], frame.header["num_keypoints"]
        num = 0 if num_keypoints is None else int(num_keypoints)
        if len(frame.body) != 4 * dimension + (KEYPOINT_BYTES * num):
            raise GalleryError(f"{len(frame.body)} bytes for {dimension} dimensions and {num} keypoints")
        floats = np.frombuffer(frame.body, "<f4", dimension + 5 * num)
        vector, points, sizes, angles, responses = np.split(floats, dimension + num * np.array([0, 2, 3, 4]))
        if num_keypoints is None:
            return Row(**row), vector, None
        descriptors = np.frombuffer(frame.body, np.uint8, offset=4 * floats.size).reshape(num, DESCRIPTOR_BYTES)
        found = PictureKeypoints(points.reshape(num, 2), sizes, angles, responses, descriptors)
        return Row(**row), vector, found
    except (KeyError, TypeError, ValueError) as error:
        raise GalleryError(f"a frame that is no change: {error!r}") from error


def error_frame(number: int, error: Exception) -> bytes:
    """An error by its class, if it is one of ours; what nobody expected goes to the log of this process."""
    for each in type(error).__mro__:
        if _ERRORS.get(each.__name__) is each:
            return sized({"id": number, "error": each.__name__, "message": str(error)})
    _log.error("a change broke", exc_info=error)
    return sized({"id": number, "error": "GalleryError", "message": "the process that writes failed; its log says why"})


def error_in(frame: Frame) -> SemblanceError:
    """The error that a frame tells of."""
    return _ERRORS.get(frame.header["error"], GalleryError)(frame.header.get("message", ""))
