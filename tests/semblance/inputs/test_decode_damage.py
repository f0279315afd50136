"""What is cut short, misnamed or too large."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from semblance.errors import ImageError
from semblance.inputs.decode import Limits, decode
from tests.semblance.inputs.damaged import png_bomb
from tests.semblance.inputs.pictures import (
    COLOR,
    GREY,
    HAS_AVIF,
    OTHER,
    RGBA,
    cmyk_picture,
    encode,
    run_lengths,
    without_adobe,
)


def _kinds() -> Iterator[tuple[str, bytes]]:
    palette = COLOR.quantize(60)
    yield "JPEG", encode(COLOR, "JPEG")
    yield "progressive JPEG", encode(COLOR, "JPEG", progressive=True)
    yield "CMYK JPEG", encode(cmyk_picture(), "JPEG")
    yield "CMYK JPEG without marker", without_adobe(encode(cmyk_picture(), "JPEG"))
    yield "PNG", encode(COLOR, "PNG")
    yield "palette PNG", encode(palette, "PNG", transparency=4)
    yield "animated PNG", encode(COLOR, "PNG", save_all=True, append_images=[OTHER])
    yield "lossy WebP", encode(COLOR, "WEBP")
    yield "lossless WebP", encode(RGBA, "WEBP", lossless=True)
    yield "animated WebP", encode(COLOR, "WEBP", save_all=True, append_images=[OTHER])
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"TIFF {compression}", encode(COLOR, "TIFF", compression=compression)
    yield "BMP", encode(COLOR, "BMP")
    yield "palette BMP", encode(palette, "BMP")
    yield "run-length BMP", run_lengths(np.tile(np.arange(8, dtype=np.uint8), (16, 1)))[0]
    yield "GIF", encode(palette, "GIF")
    yield "animated GIF", encode(palette, "GIF", save_all=True, append_images=[OTHER.quantize(60)])
    yield "PGM", encode(GREY, "PPM")
    yield "PPM", encode(COLOR, "PPM")
    if HAS_AVIF:
        yield "AVIF", encode(COLOR, "AVIF")


@pytest.mark.parametrize(("kind", "content"), [pytest.param(*each, id=each[0]) for each in _kinds()])
def test_cut_short_is_refused_wherever_it_is_cut(kind: str, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    decode(content, channels=3)
    ends = sorted({*range(40), *range(40, len(content), max(1, len(content) // 150))})
    for end in ends:
        with pytest.raises(ImageError):
            decode(content[:end], channels=3)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("kind", "content"), [pytest.param(*each, id=each[0]) for each in _kinds()])
def test_the_content_decides_and_what_follows_is_ignored(kind: str, content: bytes, tmp_path: Path) -> None:
    expected = decode(content, channels=3)
    for name in ("picture.png", "picture.jpg", "picture.tif"):
        (tmp_path / name).write_bytes(content + b"what a camera put there \xff\xd9\0")
        np.testing.assert_array_equal(decode(tmp_path / name, channels=3), expected)


@pytest.mark.parametrize("form", ["P2", "P3", "P1"])
def test_pictures_in_plain_text_need_no_end_of_line(form: str) -> None:
    """netpbm's documents ask for none."""
    samples = np.random.default_rng(0).integers(0, 2 if form == "P1" else 256, (3, 4, 3 if form == "P3" else 1))
    numbers = " ".join(map(str, samples.flat))
    content = f"{form}\n4 3\n{'' if form == 'P1' else '255 '}{numbers}".encode()
    expected = 255 * (1 - samples) if form == "P1" else samples
    for end in (b"", b"\n"):
        np.testing.assert_array_equal(decode(content + end, channels=samples.shape[2]), expected)


# --- limits


def test_limits_are_inclusive() -> None:
    content = encode(COLOR, "PNG")
    pixels = COLOR.width * COLOR.height
    limits = Limits(max_pixels=pixels, max_bytes=len(content))
    assert decode(content, channels=3, limits=limits).shape == (COLOR.height, COLOR.width, 3)
    with pytest.raises(ImageError, match=f"{pixels:,} pixels, the limit is {pixels - 1:,}; raise it"):
        decode(content, channels=3, limits=Limits(max_pixels=pixels - 1))
    with pytest.raises(ImageError, match=f"{len(content):,} bytes, the limit is {len(content) - 1:,}; raise it"):
        decode(content, channels=3, limits=Limits(max_bytes=len(content) - 1))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is asked for Linux's way")
@pytest.mark.parametrize("kind", ["pixels", "bytes"])
def test_what_is_beyond_a_limit_costs_no_memory(tmp_path: Path, kind: str) -> None:
    """In a process of its own, whose peak is set back before the file is looked at."""
    path = tmp_path / "large.png"
    if kind == "pixels":
        path.write_bytes(png_bomb(50_000))
    else:
        with path.open("wb") as file:
            file.truncate(1 << 30)  # a hole: no byte is on the disk
    program = """
import sys
from pathlib import Path
from semblance.errors import ImageError
from semblance.inputs.decode import decode
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
Path("/proc/self/clear_refs").write_text("5")
before = peak()
try:
    decode(Path(sys.argv[1]), channels=3)
except ImageError as error:
    print(peak() - before, error)
"""
    ended = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    grown, _, said = ended.stdout.partition(" ")
    assert int(grown) < 8 * 1024  # KiB
    assert f"the limit is {'100,000,000' if kind == 'pixels' else '268,435,456'}" in said


def test_opencv_works_in_the_callers_thread_alone() -> None:
    """In a process of its own, since it is a setting of the process."""
    program = """
import cv2
cv2.setNumThreads(3)
from semblance.inputs.decode import single_threaded
assert cv2.getNumThreads() == 3  # to import it changes nothing
single_threaded()
assert cv2.getNumThreads() == 1
"""
    subprocess.run([sys.executable, "-c", program], check=True)
