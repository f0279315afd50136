"""Headers against what made the files, and the parsers against anything that is no file."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semblance.errors import ImageError
from semblance.inputs.decode import decode
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
from semblance.inputs.decode import decode
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
