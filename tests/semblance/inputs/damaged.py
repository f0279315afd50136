"""A folder of pictures damaged in every way that files are, and of good ones among them.

In: an empty folder and a seed. Out: the files, and for each what may become of it: "good" decodes, "bad" is refused,
"either" may do one or the other, as a picture with a flipped bit does. Nothing is needed but numpy and OpenCV, and the
same seed makes the same files.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Verdict = Literal["good", "bad", "either"]

_CUTS, _FLIPS = 16, 16  # per kind of picture
_TAGS = {"width": 256, "height": 257, "bits": 258, "compression": 259, "color": 262, "orientation": 274, "samples": 277}


def make_damaged(folder: Path, *, seed: int = 0) -> dict[str, Verdict]:
    """Write the files into `folder`, which is made where it is missing: relative posix path -> verdict.

    All names end as pictures' do; some belong to folders, links that lead nowhere and, where there are such, a pipe.
    """
    rng = np.random.default_rng(seed)
    verdicts: dict[str, Verdict] = {}
    for path, content, verdict in _files(rng):
        verdicts[path] = verdict
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return verdicts | _no_files(folder)


def good_pictures(rng: np.random.Generator) -> dict[str, bytes]:
    """One picture [72, 96] as each kind of file: name -> bytes; the name's suffix is the kind's own."""
    noise = cv2.GaussianBlur(rng.integers(0, 256, (72, 96, 3), dtype=np.uint8), (0, 0), 4)
    color = cv2.normalize(noise, np.empty_like(noise), 0, 255, cv2.NORM_MINMAX)
    grey = np.ascontiguousarray(color[..., 0])
    kinds: dict[str, tuple[NDArray[np.generic], list[int]]] = {
        "baseline.jpg": (color, []),
        "progressive.jpg": (color, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        "restarts.jpg": (color, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
        "grey.jpg": (grey, []),
        "color.png": (color, []),
        "deep.png": (color.astype(np.uint16) * 257, []),
        "alpha.png": (np.dstack([color, grey]), []),
        "lossy.webp": (color, [cv2.IMWRITE_WEBP_QUALITY, 80]),
        "lossless.webp": (np.dstack([color, grey]), [cv2.IMWRITE_WEBP_QUALITY, 101]),
        "packed.tiff": (color, []),
        "plain.tif": (grey, [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
        "color.bmp": (color, []),
        "color.gif": (color, []),
        "grey.pgm": (grey, []),
        **({"color.avif": (color, [])} if cv2.haveImageWriter(".avif") else {}),
    }
    return {
        name: cv2.imencode(Path(name).suffix, pixels, options)[1].tobytes() for name, (pixels, options) in kinds.items()
    }


def png(width: int, height: int, bits: int, color_type: int, pixels: bytes, **chunks: bytes) -> bytes:
    """A PNG of packed pixels (a zlib stream of filtered rows), with further chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    parts = {"IHDR": header, **chunks, "IDAT": pixels, "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(each)) + name.encode() + each + struct.pack(">I", zlib.crc32(name.encode() + each))
        for name, each in parts.items()
    )


def png_bomb(side: int) -> bytes:
    """A valid PNG of `side` x `side` black pixels, 1 bit each; `side` is a multiple of 100."""
    row_bytes = 1 + (side + 7) // 8
    packer = zlib.compressobj(9)
    begin = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(row_bytes * 100)) + packer.flush(zlib.Z_FULL_FLUSH)  # alike wherever it stands
    checksum = (row_bytes * side % 65521 << 16) + 1  # Adler's, of zeros
    return png(
        side, side, 1, 0, (begin or b"\x78\xda") + block * (side // 100) + b"\x03\0" + struct.pack(">I", checksum)
    )


def tiff(width: int, height: int, pixels: bytes, *, order: Literal["<", ">"] = "<", **fields: int | list[int]) -> bytes:
    """A TIFF of one strip, by default plain 8-bit grey; `fields` are those of `_TAGS`, or `tagN`, and their values."""
    samples = fields.get("samples", 1)
    values: dict[str, int | list[int]] = {
        "width": width, "height": height, "bits": [8] * samples if isinstance(samples, int) else 8, "compression": 1,
        "color": 1, "tag273": 8, "tag279": len(pixels), **fields,
    }  # fmt: skip
    numbers = {_TAGS.get(name) or int(name.removeprefix("tag")): value for name, value in values.items()}
    pixels += bytes(len(pixels) % 2)
    start = 8 + len(pixels)
    beyond = start + 2 + 12 * len(numbers) + 4
    entries, tail = b"", b""
    for tag, value in sorted(numbers.items()):
        several = value if isinstance(value, list) else [value]
        packed = struct.pack(f"{order}{len(several)}I", *several)
        if len(packed) > 4:
            packed, tail = struct.pack(f"{order}I", beyond + len(tail)), tail + packed
        entries += struct.pack(f"{order}HHI", tag, 4, len(several)) + packed
    begin = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return begin + pixels + struct.pack(f"{order}H", len(numbers)) + entries + bytes(4) + tail


# ----------------------------------------------------------------------------------------------------------------------


def _files(rng: np.random.Generator) -> Iterator[tuple[str, bytes, Verdict]]:
    good = good_pictures(rng)
    for name, content in good.items():
        kind, suffix = name.split(".")
        yield f"good/{name}", content, "good"
        yield f"good/{suffix}-{kind}-followed.{suffix}", content + b"trailing garbage \xff\xd9", "good"
        yield f"good/{suffix}-{kind}-misnamed.{'png' if suffix == 'jpg' else 'jpg'}", content, "good"
        for number, end in enumerate(rng.integers(1, int(len(content) * 0.95), _CUTS)):
            yield f"cut/{kind}-{number}.{suffix}", content[:end], "bad"
        for number in range(_FLIPS):
            yield f"flipped/{kind}-{number}.{suffix}", _flipped(content, int(rng.integers(1, 5)), rng), "either"
        yield f"headers/{kind}-zeros.{suffix}", bytes(16) + content[16:], "bad"
        yield f"headers/{kind}-noise.{suffix}", b"\x01" + rng.bytes(15) + content[16:], "bad"
        yield f"headers/{kind}-only.{suffix}", content[:12], "bad"
    for name in ("baseline.jpg", "progressive.jpg", "color.png"):  # as an interrupted download leaves them
        half = len(good[name]) // 2
        yield f"cut/zeros-{name}", good[name][:half] + bytes(half), "bad"
    yield from ((f"huge/{name}", content, "bad") for name, content in _huge(good).items())
    yield from ((f"other/{name}", content, "bad") for name, content in _others(rng).items())


def _flipped(content: bytes, count: int, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for place in rng.integers(0, len(damaged), count):
        damaged[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(damaged)


def _huge(good: dict[str, bytes]) -> dict[str, bytes]:
    """Little files that declare more than a hundred million pixels."""
    jpeg, webp, bmp, gif = (bytearray(good[name]) for name in ("baseline.jpg", "lossy.webp", "color.bmp", "color.gif"))
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = struct.pack(">HH", 65500, 65500)
    webp[26:30] = struct.pack("<HH", 16383, 16383)
    bmp[18:26] = struct.pack("<ii", 60000, -60000)
    gif[6:10] = struct.pack("<HH", 60000, 60000)
    canvas = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + b"\x10\0\0\0" + (16383).to_bytes(3, "little") * 2
    run_lengths = bytes(bmp[:18]) + struct.pack("<iiHHI", 50000, 50000, 1, 8, 1) + bytes(bmp[34:])
    files = {
        "valid-50000.png": png_bomb(50_000),
        "declared.png": png(2**31 - 1, 2**31 - 1, 8, 2, zlib.compress(bytes(100))),
        "declared.jpg": bytes(jpeg),
        "declared.webp": bytes(webp),
        "canvas.webp": canvas,
        "declared.bmp": bytes(bmp),
        "run-lengths.bmp": run_lengths,
        "declared.gif": bytes(gif),
        "declared.tif": tiff(60_000, 60_000, bytes(64)),
        "deflated.tif": tiff(60_000, 60_000, zlib.compress(bytes(1 << 20)), compression=8),
        "tiles.tif": tiff(8, 8, bytes(64), tag322=60_000, tag323=60_000),
        "values.tif": tiff(8, 8, bytes(64)).replace(struct.pack("<HHI", 273, 4, 1), struct.pack("<HHI", 273, 4, 2**31)),
        "declared.ppm": b"P6 60000 60000 255\n" + bytes(64),
    }
    if "color.avif" in good:
        avif = bytearray(good["color.avif"])
        size = avif.index(b"ispe") + 8
        avif[size : size + 8] = struct.pack(">II", 60_000, 60_000)
        files["declared.avif"] = bytes(avif)
    return files


def _others(rng: np.random.Generator) -> dict[str, bytes]:
    """What lies among pictures under their names and is none."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("readme.txt"), "no picture")  # of no day: the same bytes whenever it is made
    files = {
        "empty.jpg": b"",
        "one-byte.png": b"\x89",
        "text.jpg": b"This is no picture.\n" * 20,
        "page.png": b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n",
        "drawing.png": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "archive.jpg": packed.getvalue(),
        "document.png": b"%PDF-1.7\n" + bytes(100),
        "radiance.jpg": cv2.imencode(".hdr", np.ones((4, 4, 3), np.float32))[1].tobytes(),
        "floats.tiff": cv2.imencode(".tiff", np.ones((4, 4, 3), np.float32))[1].tobytes(),
        "zeros.png": bytes(5000),
        "ones.jpg": b"\xff" * 5000,
        "markers.jpg": b"\xff\xd8" + b"\xff\x01" * 5000,
        "endless.tif": b"II*\0" + struct.pack("<I", 8) + b"\xff" * 500,
    }
    return files | {f"noise-{number}.jpg": rng.bytes(2000) for number in range(5)}


def _no_files(folder: Path) -> dict[str, Verdict]:
    """Folders, links and a pipe with pictures' names."""
    (folder / "other").mkdir(parents=True, exist_ok=True)
    made: dict[str, Verdict] = {"other/folder.png": "bad"}
    (folder / "other" / "folder.png").mkdir(exist_ok=True)
    try:
        (folder / "other" / "nowhere.jpg").symlink_to("gone.jpg")
        (folder / "other" / "circle.jpg").symlink_to("circle.jpg")
        made |= {"other/nowhere.jpg": "bad", "other/circle.jpg": "bad"}
    except OSError:  # Windows lets few users make links
        pass
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "other" / "pipe.png")
        made["other/pipe.png"] = "bad"
    return made
