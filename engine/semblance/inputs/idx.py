"""The idx format of MNIST and its kin, plain or gzipped: a short header, then unsigned bytes.

In: a file. Out: its array. The header's claim is checked against what the file holds, so that a copy cut short is
never taken for a smaller data set. Format: yann.lecun.com/exdb/mnist, "The IDX file format".
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from semblance.errors import SourceError

_UNSIGNED_BYTE = 0x08
_CHUNK_BYTES = 1 << 24
_MAX_RANK = 4


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The uint8 array of an idx or idx.gz file, of the shape that its header states.

    Raises SourceError: no such file, not idx, not unsigned bytes, cut short, or longer than its header claims.
    """
    try:
        with _open(path) as file:
            shape = _read_header(file, path)
            payload = _read_payload(file, math.prod(shape), path)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path}: cannot be read ({error}); expected an idx file, plain or gzipped") from error
    return np.frombuffer(payload, np.uint8).reshape(shape)


def _open(path: Path) -> BinaryIO:
    """By content, not by suffix: gzip starts with 1f 8b, idx with two zero bytes."""
    file = path.open("rb")
    if file.read(2) == b"\x1f\x8b":
        file.close()
        return cast(BinaryIO, gzip.open(path, "rb"))
    file.seek(0)
    return file


def _read_header(file: BinaryIO, path: Path) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or not 1 <= magic[3] <= _MAX_RANK:
        raise SourceError(f"{path}: not an idx file (it begins with {magic.hex() or 'nothing'}, not with 0000)")
    if magic[2] != _UNSIGNED_BYTE:
        raise SourceError(f"{path}: idx of type 0x{magic[2]:02x}; only unsigned bytes (0x08) are pictures or labels")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise SourceError(f"{path}: cut short inside its header; copy or download it again")
    return struct.unpack(f">{magic[3]}I", sizes)


def _read_payload(file: BinaryIO, claimed: int, path: Path) -> bytearray:
    """In chunks: a damaged header may claim more than any memory holds."""
    payload = bytearray()
    while len(payload) <= claimed:
        chunk = file.read(min(_CHUNK_BYTES, claimed + 1 - len(payload)))
        if not chunk:
            break
        payload += chunk
    if len(payload) < claimed:
        raise SourceError(
            f"{path}: cut short: {len(payload)} bytes of pixels where its header claims {claimed}; "
            "copy or download it again"
        )
    if len(payload) > claimed:
        raise SourceError(f"{path}: holds more than the {claimed} bytes its header claims; copy or download it again")
    return payload
