"""Makers of what sources read, of pictures small enough to look at, and what holds for most sources."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from semblance.inputs.items import Source, num_items

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 6, 5), dtype=np.uint8)

Members = Sequence[tuple[str, bytes]]


def png(number: int) -> bytes:
    """An encoded grey picture [6, 5], a different one for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (6, 5), dtype=np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


def write_tar(path: Path, members: Members, *, mode: str = "w", kind: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of these names and bytes at `path`; `mode` may name a compression, `kind` is the format."""
    with tarfile.open(path, mode, format=kind) as tar:  # type: ignore[call-overload]
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return path


def write_images(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(cv2.imencode(".png", PIXELS[number])[1].tobytes())


def write_idx(path: Path, array: np.ndarray) -> Path:
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def uris(source: Source) -> list[str]:
    return [item.uri for item in source]


def assert_sorted_and_repeatable(source: Source) -> None:
    """One order, by uri; each item once; the same again; and as many as it says."""
    first = uris(source)
    assert first == sorted(first) == uris(source)
    assert num_items(source) == len(first) == len(set(first))
