"""idx files: what is read, and every way a file can be wrong."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from semblance.errors import SourceError
from semblance.inputs.idx import read_idx


def idx(array: np.ndarray, *, claimed: tuple[int, ...] | None = None, kind: int = 8) -> bytes:
    shape = array.shape if claimed is None else claimed
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


PIXELS = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("array", [PIXELS, PIXELS[:0], PIXELS[:1], np.arange(5, dtype=np.uint8)])
@pytest.mark.parametrize("is_gzipped", [False, True])
def test_arrays_come_back(tmp_path: Path, array: np.ndarray, is_gzipped: bool) -> None:
    path = tmp_path / "some-ubyte"
    path.write_bytes(gzip.compress(idx(array)) if is_gzipped else idx(array))
    np.testing.assert_array_equal(read_idx(path), array)
    assert read_idx(path).shape == array.shape


BROKEN = {
    "empty": (b"", "not an idx file.*nothing"),
    "text": (b"hello world", "not an idx file"),
    "floats": (idx(PIXELS, kind=0x0D), "type 0x0d"),
    "no rank": (b"\0\0\x08\0", "not an idx file"),
    "huge rank": (b"\0\0\x08\xff" + bytes(2000), "not an idx file"),
    "header cut": (idx(PIXELS)[:9], "inside its header"),
    "pixels cut": (idx(PIXELS)[:-1], "23 bytes.*claims 24"),
    "no pixels": (idx(PIXELS[:0], claimed=(2, 3, 4)), "0 bytes"),
    "claims the moon": (idx(PIXELS, claimed=(2**32 - 1,) * 3), "cut short"),
    "too long": (idx(PIXELS) + b"\0", "more than the 24 bytes"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("is_gzipped", [False, True])
def test_damaged_files_are_refused(tmp_path: Path, case: str, is_gzipped: bool) -> None:
    content, reason = BROKEN[case]
    path = tmp_path / "images.idx"
    path.write_bytes(gzip.compress(content) if is_gzipped else content)
    with pytest.raises(SourceError, match=rf"images\.idx: .*{reason}"):
        read_idx(path)


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    whole = gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (9, 9, 9), dtype=np.uint8)))
    for content in (whole[:-40], whole[:20], whole[:60] + b"\xff" * 20 + whole[80:]):
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"images\.gz: "):
            read_idx(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read_idx(tmp_path / "gone")
