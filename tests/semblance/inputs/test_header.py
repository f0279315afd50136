"""Headers against what made the files, and the parsers against anything that is no file."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semblance.errors import ImageError
from semblance.inputs.decode import Limits, decode
from semblance.inputs.header import Header, read_header
from tests.semblance.inputs.damaged import good_pictures, make_damaged, png, tiff

GOOD = good_pictures(np.random.default_rng(0))
SIGNATURES = [content[:16] for content in GOOD.values()]


@pytest.mark.parametrize("name", GOOD)
def test_the_size_is_the_one_that_is_decoded(name: str) -> None:
    header = read_header(GOOD[name], name)
    assert (header.height, header.width) == (72, 96)
    assert decode(GOOD[name], channels=3).shape == (72, 96, 3)
    assert header.orientation == 1
    assert not header.is_animated


def test_colours_bits_and_alpha_are_told() -> None:
    headers = {name: read_header(content, name) for name, content in GOOD.items()}
    assert {name for name, each in headers.items() if each.color == "grey"} == {"grey.jpg", "plain.tif", "grey.pgm"}
    assert {name for name, each in headers.items() if each.bits == 16} == {"deep.png"}
    assert {name for name, each in headers.items() if each.alpha != "none"} == {
        "alpha.png", "lossless.webp", "color.gif",
    }  # fmt: skip
    assert headers["color.gif"].color == "palette"


def test_real_photographs_have_the_size_that_opencv_gives(caltech_photos: list[bytes]) -> None:
    for content in caltech_photos:
        header = read_header(content, "photo")
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert (header.height, header.width) == pixels.shape[:2]
        assert (header.color == "grey") == (pixels.ndim == 2)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_is_read_in_both_byte_orders(order: str) -> None:
    content = tiff(3, 5, bytes(45), order=order, samples=3, color=2, orientation=6)  # type: ignore[arg-type]
    header = Header("TIFF", 5, 3, "rgb", 8, orientation=6)
    assert read_header(content, "any") == header


def test_big_tiff_is_read() -> None:
    fields = [(256, 4), (257, 2), (258, 8), (259, 1), (262, 1), (273, 16), (277, 1), (278, 2), (279, 8)]
    entries = b"".join(struct.pack("<HHQQ", tag, 4, 1, value) for tag, value in fields)
    content = struct.pack("<2sHHHQ8s", b"II", 43, 8, 0, 24, bytes(range(8)))
    content += struct.pack("<Q", len(fields)) + entries + bytes(8)
    assert read_header(content, "any") == Header("TIFF", 2, 4, "grey")
    np.testing.assert_array_equal(decode(content, channels=1)[..., 0], np.arange(8).reshape(2, 4))


@pytest.mark.parametrize("alpha", [False, True])
def test_animations_are_told(alpha: bool) -> None:
    image = pytest.importorskip("PIL.Image")
    frames = [image.new("RGBA" if alpha else "RGB", (9, 7), color) for color in ("red", "blue")]
    for suffix in ("GIF", "WEBP", "PNG", "AVIF"):
        buffer = io.BytesIO()
        frames[0].save(buffer, suffix, save_all=True, append_images=frames[1:])
        header = read_header(buffer.getvalue(), suffix)
        assert (header.height, header.width, header.is_animated) == (7, 9, True)


# --- what damage found by chance made of the parsers


@pytest.mark.parametrize(
    ("bits", "color_type"), [(0, 0), (0, 3), (3, 0), (4, 2), (16, 3), (2, 6), (200, 0), (8, 1), (8, 5), (8, 7)]
)
def test_a_png_of_bits_that_its_colours_cannot_have_is_refused(
    bits: int, color_type: int, capfd: pytest.CaptureFixture[str]
) -> None:
    content = png(8, 8, bits, color_type, zlib.compress(bytes(1000)), tRNS=bytes(6))
    with pytest.raises(ImageError, match=f"damaged: {bits} bits a sample in colours of type {color_type}"):
        decode(content, channels=3)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("place", "value", "reason"), [(26, 1, "compression"), (27, 1, "filter"), (28, 2, "interlace")]
)
def test_a_png_of_methods_that_there_are_not_is_refused(
    place: int, value: int, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    header = bytearray(GOOD["color.png"][12:29])
    header[place - 12] = value
    content = GOOD["color.png"][:12] + header + struct.pack(">I", zlib.crc32(header)) + GOOD["color.png"][33:]
    with pytest.raises(ImageError, match=rf"damaged: .*{reason}"):
        decode(content, channels=3)
    assert capfd.readouterr().err == ""


def test_a_png_of_a_palette_that_is_not_there_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageError, match="it has no palette"):
        decode(png(8, 8, 8, 3, zlib.compress(bytes(72))), channels=3)
    assert capfd.readouterr().err == ""


def test_a_png_with_a_chunk_that_has_to_be_understood_and_is_not_is_refused(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As its pixels are where a bit of their chunk's name was flipped."""
    content = GOOD["color.png"]
    with pytest.raises(ImageError, match="damaged: a chunk 'IDAU' that must be understood"):
        decode(content.replace(b"IDAT", b"IDAU", 1), channels=3)
    note = struct.pack(">I", 3) + b"noTe" + b"abc" + struct.pack(">I", zlib.crc32(b"noTeabc"))
    assert decode(content[:33] + note + content[33:], channels=3).shape == (72, 96, 3)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("length", [0, 1])
def test_a_transparent_grey_of_too_few_bytes_is_none(length: int) -> None:
    content = png(8, 8, 8, 0, zlib.compress(bytes(72)), tRNS=bytes(length))
    assert read_header(content, "any").transparent_grey is None
    assert (decode(content, channels=1) == 0).all()


@pytest.mark.parametrize("start", [0, 2, 53])
def test_a_bmp_whose_pixels_lie_in_its_header_is_refused(start: int) -> None:
    content = bytearray(GOOD["color.bmp"])
    content[10:14] = struct.pack("<I", start)
    with pytest.raises(ImageError, match="damaged: its pixels lie in its header"):
        decode(bytes(content), channels=3)


def test_a_bmp_of_run_lengths_is_as_long_as_it_says() -> None:
    runs = (b"\x04\x01" + b"\0\0") * 4 + b"\0\1"
    fields = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 8, 1, len(runs), 0, 0, 256, 0)
    content = b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + fields + bytes(1024) + runs
    assert decode(content, channels=1).shape == (4, 4, 1)
    for lost in range(1, len(runs)):
        with pytest.raises(ImageError, match="cut short"):
            decode(content[:-lost], channels=1)


@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg"])
def test_a_jpeg_of_more_pixels_than_its_bytes_can_hold_is_refused(name: str) -> None:
    """An honest one needs a bit for each 64 pixels, and most need far more."""
    content = bytearray(GOOD[name])
    frame = content.index(b"\xff\xc0" if name.startswith("base") else b"\xff\xc2") + 5
    content[frame : frame + 4] = struct.pack(">HH", 9000, 9000)
    with pytest.raises(ImageError, match="damaged: 9,000 x 9,000 pixels in "):
        read_header(bytes(content), "any")
    flat = cv2.imencode(".jpg", np.zeros((4000, 4000), np.uint8), [cv2.IMWRITE_JPEG_OPTIMIZE, 1])[1].tobytes()
    assert read_header(flat, "any").height == 4000  # as small as they come


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    """Each costs a walk over all of its pixels."""
    content = GOOD["progressive.jpg"]
    start = content.rindex(b"\xff\xda")
    scan = content[start:-2]
    assert decode(content[:-2] + scan * 80 + content[-2:], channels=3).shape == (72, 96, 3)
    with pytest.raises(ImageError, match=r"damaged: 1,0\d\d scans"):
        read_header(content[:-2] + scan * 1000 + content[-2:], "any")


# --- anything at all: ImageError or a header, and soon


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_or_read(content: bytes) -> None:
    for signature in [b"", *SIGNATURES]:
        try_header(signature + content)


@given(st.sampled_from(sorted(GOOD)), st.lists(st.tuples(st.integers(0), st.binary(max_size=8)), max_size=6), st.data())
def test_changed_pictures_are_refused_or_read(name: str, changes: list[tuple[int, bytes]], data: st.DataObject) -> None:
    content = bytearray(GOOD[name])
    for place, new in changes:
        start = place % min(len(content), 700)  # headers lie in front
        content[start : start + len(new)] = new
    end = data.draw(st.integers(0, len(content)))
    try_header(bytes(content))
    try_header(bytes(content[:end]))


@given(st.binary(max_size=60), st.integers(0, 40))
def test_directories_of_a_tiff_may_hold_anything(noise: bytes, start: int) -> None:
    for begin in (b"II*\0" + struct.pack("<I", start), b"MM\0*" + struct.pack(">I", start)):
        try_header(begin + noise)
    try_header(b"II+\0\x08\0\0\0" + struct.pack("<Q", start) + noise)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", start) + noise
    jpeg = GOOD["baseline.jpg"]
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    assert read_header(jpeg[:2] + segment + jpeg[2:], "any").height == 72  # EXIF's damage is not the picture's


@given(st.binary(min_size=13, max_size=13), st.dictionaries(st.sampled_from(["PLTE", "tRNS", "eXIf"]), st.binary()))
def test_headers_of_a_png_may_hold_anything(header: bytes, chunks: dict[str, bytes]) -> None:
    """Their checksums are right, or nobody would look at them."""
    width, height, bits, color_type = struct.unpack(">IIBB", header[:10])
    content = png(width, height, bits, color_type, zlib.compress(bytes(5000)), **chunks)
    content = content[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + content[33:]
    try_header(content)
    small = png(width % 50, height % 50, bits % 17, color_type % 7, zlib.compress(bytes(5000)), **chunks)
    try_header(small)
    try_decode(small)


@given(st.sampled_from(sorted(GOOD)), st.lists(st.tuples(st.integers(0), st.binary(max_size=8)), max_size=6))
def test_changed_pictures_are_refused_or_decoded(name: str, changes: list[tuple[int, bytes]]) -> None:
    content = bytearray(GOOD[name])
    for place, new in changes:
        start = place % len(content)
        content[start : start + len(new)] = new
    try_decode(bytes(content))


def try_decode(content: bytes) -> None:
    said = ""
    try:
        assert decode(content, channels=3, limits=Limits(max_pixels=1_000_000)).shape[2] == 3
    except ImageError as error:
        said = str(error)
    assert "\n" not in said


def try_header(content: bytes) -> None:
    said = ""
    try:
        header = read_header(content, "any")
        assert min(header.height, header.width) > 0
        assert header.orientation in range(1, 9)
    except ImageError as error:
        said = str(error)
    assert "\n" not in said
    assert said.startswith("any: ") or not said


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8\xff\x01" + b"\xff\x01" * 4_000_000,
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 2_000_000,
        b"\xff\xd8\xff" + b"\xff\x00" * 4_000_000,
        b"\xff" * 3 + b"\xff" * 8_000_000,
        png(8, 8, 8, 0, b"")[:33] + (bytes(4) + b"IDAT" + struct.pack(">I", 0x35AF061E)) * 600_000,
        b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 8_000_000,
        b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 400_000) + (struct.pack("<HHQQ", 999, 4, 1, 1)) * 400_000,
        b"GIF89a\x01\0\x01\0\0\0\0" + b"\x21\xf9\x01\x00\x00" * 1_600_000,
        b"RIFF\x00\x12\x7a\0WEBPVP8X\x0a\0\0\0\x08" + bytes(9) + bytes(8_000_000),
        b"\0\0\0\x0cftypavif" + (struct.pack(">I", 8) + b"free") * 1_000_000,
        b"P5 " + b"# \n" * 3_000_000,
    ],
    ids=["markers", "segments", "stuffed", "fill", "chunks", "fields", "big", "blocks", "riff", "boxes", "comments"],
)
def test_files_made_to_keep_a_parser_busy_do_not(content: bytes) -> None:
    started = time.process_time()
    with pytest.raises(ImageError):
        read_header(content, "any")
    assert time.process_time() - started < 10  # hours, if it were not bounded


# --- a folder of damage


@pytest.mark.parametrize("seed", [0, 1])
def test_damaged_files_are_refused_and_good_ones_decoded(tmp_path: Path, seed: int) -> None:
    """In a process of its own, whose memory is looked at."""
    verdicts = make_damaged(tmp_path, seed=seed)
    assert len(verdicts) >= 400
    assert list(verdicts.values()).count("good") >= 40
    program = """
import json, sys, resource
from pathlib import Path
from semblance.errors import ImageError
from semblance.inputs.decode import Limits, decode
found = {}
for path in json.load(sys.stdin):
    try:
        pixels = decode(Path(sys.argv[1]) / path, channels=3)
        found[path] = "good" if pixels.ndim == 3 else "wrong"
    except ImageError as error:
        found[path] = "bad" if str(error).startswith(sys.argv[1]) and "\\n" not in str(error) else f"wrong: {error}"
status = Path("/proc/self/status")  # what getrusage says begins with the memory of the process that forked this one
if status.is_file():
    peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([found, peak]))
"""

    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], input=json.dumps(list(verdicts)), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    found, peak_bytes = json.loads(ended.stdout)
    allowed = {"good": {"good"}, "bad": {"bad"}, "either": {"good", "bad"}}
    assert {path: found[path] for path in verdicts if found[path] not in allowed[verdicts[path]]} == {}
    assert peak_bytes < 1e9  # a picture at the limit has 300 MB of pixels, which are there twice while they are turned


def test_the_same_seed_makes_the_same_damage(tmp_path: Path) -> None:
    first, second = make_damaged(tmp_path / "a", seed=3), make_damaged(tmp_path / "b", seed=3)
    assert first == second
    assert {path for path in first if (tmp_path / "a" / path).is_file()} <= set(first)
    for path in first:
        if (tmp_path / "a" / path).is_file():
            assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
