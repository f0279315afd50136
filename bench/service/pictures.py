"""Pictures with the vectors that the service must answer for them, and pictures that it must refuse.

In: a model. Out: encoded pictures of its kind, each with its embedding by the encoder in this process, no two of them
alike: an answer meant for one is then never taken for another's.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.scenarios.samples import files_for
from bench.subjects import PRECISIONS, subjects
from semblance.card import ModelCard, read_card
from semblance.errors import InputError, SourceError
from semblance.inference.encoder import Encoder
from semblance.inference.models import find_model

# Of an embedding's length: what an image's embedding may move with its batch. README tells of 1.2e-7 at most
TOLERANCE = 1e-6
_APART = 1_000  # times that: two pictures of one run
_QUALITY = 90  # of a photograph that was scaled


@dataclass(frozen=True, slots=True)
class Pictures:
    """N encoded pictures."""

    encoded: list[bytes]
    vectors: NDArray[np.float32]  # [N, D]
    tolerance: float  # of a coordinate
    described: str

    def __len__(self) -> int:
        return len(self.encoded)

    def expected(self, numbers: list[int]) -> bytes:
        """The raw answer for these pictures: float32 [n, D]."""
        return self.vectors[numbers].astype("<f4").tobytes()


def model_file(name: str) -> Path:
    """A file, a model of the zoo, or NAME.PRECISION of a subject of the races, which is exported where it is not there.

    Raises InputError, SourceError, ModelNotFound.
    """
    base, _, precision = name.partition(".")
    if Path(name).is_file() or base not in subjects() or precision not in (*PRECISIONS, ""):
        return find_model(name)
    subject = subjects()[base]
    why = subject.ensure(precision or "fp32", is_full=True, say=lambda _: None)
    if why is not None:
        raise SourceError(f"{name} is not there: {why}")
    return subject.path(precision or "fp32")


def pictures_for(
    model: Path, count: int, *, backend: str = "auto", threads: int = 2, longer_px: int | None = None
) -> Pictures:
    """`count` pictures, fewer where too many are alike; photographs scaled to `longer_px`. Raises SourceError."""
    files = files_for(read_card(model), count)
    encoded = [_scaled(each, longer_px) for each in files.encoded] if longer_px else files.encoded
    encoder = Encoder.load(model, backend=backend, threads=threads, max_batch=32, spinning=False)
    vectors = encoder.embed(encoded)
    tolerance = TOLERANCE * float(np.linalg.norm(vectors, axis=1).max())
    kept = distinct(vectors, _APART * tolerance)
    if len(kept) < 2:
        raise InputError(f"{model.name} gives all pictures the same vector; nothing could be told by it")
    scaled = f", {longer_px} px" if longer_px and read_card(model).channels == 3 else ""
    return Pictures([encoded[each] for each in kept], vectors[kept], tolerance, files.described + scaled)


def distinct(vectors: NDArray[np.float32], apart: float) -> list[int]:
    """Places in `vectors` [N, D] of which no two are nearer than `apart` in every coordinate."""
    kept: list[int] = []
    for number, vector in enumerate(vectors):
        if not kept or np.abs(vectors[kept] - vector).max(axis=1).min() > apart:
            kept.append(number)
    return kept


def _scaled(jpeg: bytes, longer_px: int) -> bytes:
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None or jpeg.startswith(b"\x89PNG"):
        return jpeg
    factor = longer_px / max(pixels.shape[:2])
    to = tuple(max(1, round(side * factor)) for side in pixels.shape[1::-1])
    smaller = cv2.resize(pixels, to, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def bad_pictures(good: bytes) -> dict[str, bytes]:
    """What clients send that is no picture, by what it is; each has to be refused."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    return {
        "truncated": jpeg[: len(jpeg) // 3],
        "text": b"Dear service, this is my picture. Yours, a client.\n" * 20,
        "empty": b"",
        "bomb": png_that_claims(60_000, 60_000),
        "cut": good[: max(24, len(good) // 4)],
    }


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes whose header says that it is that large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def card_of(model: Path) -> ModelCard:
    """The card of a model's file."""
    return read_card(model)
