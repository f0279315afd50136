"""The keypoints of a gallery's pictures on disk: one Parquet file beside each shard, of its pictures in their order.

In: the keypoints that a picture was found to have. Out: `sift/000000.parquet` for `shards/000000.parquet`, and so on,
which any reader opens without us, written the same to the byte from the same keypoints. What finds keypoints is the
caller's: a gallery only keeps them.

    key          int64    the picture's, once for each of its keypoints, which follow each other
    x, y         float32  pixels of the whole picture
    size, angle, response  float32
    descriptor   128 bytes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from semblance.gallery.manifest import TableFile
from semblance.gallery.shards import write_table

DESCRIPTOR_BYTES = 128
KEYPOINT_BYTES = 5 * 4 + DESCRIPTOR_BYTES  # the key beside them is compressed to almost nothing
MOST_KEYPOINTS = 1 << 20  # of one picture: those of a shard's lie in one Parquet page, below 2 GiB

# Columns as one page of plain values, where any picture's can be fetched by their position
FLOATS = ("x", "y", "size", "angle", "response")
DESCRIPTOR = "descriptor"
_SCHEMA = pa.schema(
    [
        pa.field("key", pa.int64(), nullable=False),
        *(pa.field(name, pa.float32(), nullable=False) for name in FLOATS),
        pa.field(DESCRIPTOR, pa.binary(DESCRIPTOR_BYTES), nullable=False),
    ]
)


class Keypoints(Protocol):
    """The K keypoints of a picture, or of several one after the other."""

    @property
    def points(self) -> NDArray[np.float32]:
        """[K, 2] x and y in pixels of the whole picture."""

    @property
    def sizes(self) -> NDArray[np.float32]:
        """[K] diameters in pixels of the whole picture."""

    @property
    def angles(self) -> NDArray[np.float32]:
        """[K] degrees."""

    @property
    def responses(self) -> NDArray[np.float32]:
        """[K] strengths."""

    @property
    def descriptors(self) -> NDArray[np.uint8]:
        """[K, 128]."""

    def __len__(self) -> int:
        """K."""


@dataclass(frozen=True, slots=True)
class Extractor:
    """What finds the keypoints of a gallery's pictures."""

    describe: Callable[[NDArray[np.uint8]], Keypoints]  # of a picture [H, W, C] uint8, in several threads at a time
    options: Mapping[str, Any]  # how, as plain values for the manifest; "max_keypoints" is the most that it finds


def sift_name(number: int) -> str:
    """The file of the keypoints of shard `number`, relative to its gallery."""
    return f"sift/{number:06d}.parquet"


def keypoints_problem(keypoints: Keypoints, most: int) -> str:
    """Why a gallery whose pictures have up to `most` keypoints cannot hold these; empty where it can."""
    num = len(keypoints)
    if num > most:
        return f"it has {num} keypoints, the gallery keeps up to {most} of a picture; find no more"
    numbers = (keypoints.sizes, keypoints.angles, keypoints.responses)
    shapes = [each.shape for each in (keypoints.points, *numbers, keypoints.descriptors)]
    if shapes != [(num, 2), (num,), (num,), (num,), (num, DESCRIPTOR_BYTES)] or keypoints.descriptors.dtype != np.uint8:
        return (
            f"its {num} keypoints are arrays of shapes {shapes}, the descriptors {keypoints.descriptors.dtype}; "
            "expected points [K, 2], sizes, angles and responses [K], descriptors [K, 128] uint8"
        )
    return ""


def write_keypoints(
    gallery: Path, number: int, keys: NDArray[np.int64], counts: Sequence[int], keypoints: Iterable[Keypoints]
) -> TableFile:
    """Write the keypoints of shard `number`, whose pictures have `keys` [n] and `counts` [n] of them each.

    `keypoints` are those of all its pictures in their order, in whatever pieces; each is let go of as it is taken.
    """
    num, done = sum(counts), 0
    floats = np.empty((len(FLOATS), num), np.float32)
    descriptors = np.empty((num, DESCRIPTOR_BYTES), np.uint8)
    for each in keypoints:
        here = slice(done, done + len(each))
        floats[:2, here] = each.points.T
        floats[2, here], floats[3, here], floats[4, here] = each.sizes, each.angles, each.responses
        descriptors[here] = each.descriptors
        done += len(each)
    assert done == num, (done, num)
    table = pa.Table.from_arrays(
        [
            pa.array(np.repeat(keys, counts)),
            *(pa.array(column) for column in floats),
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(DESCRIPTOR_BYTES), num, [None, pa.py_buffer(descriptors)]),
        ],
        schema=_SCHEMA,
    )
    return write_table(gallery, sift_name(number), table, plain=(*FLOATS, DESCRIPTOR))
