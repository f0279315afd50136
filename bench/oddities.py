"""Pictures by format, and files that no accident makes: bombs, loops, lies about a size, and what is no picture at all.

In: a photograph. Out: encoded bytes, and what must become of them. Written by OpenCV, by Pillow, or byte by byte where
no encoder would.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Verdict = Literal["good", "bad", "either", "no file"]
Photo = NDArray[np.uint8]  # [H, W, 3] RGB
Encode = Callable[[Photo], bytes]

_PNG = b"\x89PNG\r\n\x1a\n"
_TAGS = {"width": 256, "height": 257, "bits": 258, "compression": 259, "color": 262, "samples": 277}


@dataclass(frozen=True, slots=True)
class Odd:
    """One file that was thought out."""

    uri: str
    content: bytes
    damage: str  # in a few words
    verdict: Verdict = "bad"
    size: tuple[int, int] | None = None  # of a good one


# ------------------------------------------------------------------------------------------------------------------
# Every kind of picture, by a file name


def by_opencv() -> dict[str, Encode]:
    """What OpenCV writes, or a few lines here do."""
    avif: dict[str, Encode] = {
        "color.avif": lambda photo: _encoded(".avif", photo, [cv2.IMWRITE_AVIF_SPEED, 9]),
    }
    return {
        "baseline.jpg": lambda photo: _encoded(".jpg", photo),
        "progressive.jpg": lambda photo: _encoded(".jpg", photo, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        "restarts.jpg": lambda photo: _encoded(".jpg", photo, [cv2.IMWRITE_JPEG_RST_INTERVAL, 4]),
        "grey.jpg": lambda photo: _encoded(".jpg", _grey(photo)),
        "color.png": lambda photo: _encoded(".png", photo),
        "grey.png": lambda photo: _encoded(".png", _grey(photo)),
        "deep.png": lambda photo: _encoded(".png", photo.astype(np.uint16) * 257),
        "alpha.png": lambda photo: _encoded(".png", _with_alpha(photo)),
        "bits.png": lambda photo: png(*_bits(photo)),
        "interlaced.png": _interlaced,
        "lossy.webp": lambda photo: _encoded(".webp", photo, [cv2.IMWRITE_WEBP_QUALITY, 80]),
        "lossless.webp": lambda photo: _encoded(".webp", _with_alpha(photo), [cv2.IMWRITE_WEBP_QUALITY, 101]),
        "plain.tif": lambda photo: _encoded(".tif", photo, [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
        "lzw.tif": lambda photo: _encoded(".tif", photo, [cv2.IMWRITE_TIFF_COMPRESSION, 5]),
        "deflated.tiff": lambda photo: _encoded(".tif", photo, [cv2.IMWRITE_TIFF_COMPRESSION, 8]),
        "packbits.tif": lambda photo: _encoded(".tif", photo, [cv2.IMWRITE_TIFF_COMPRESSION, 32773]),
        "deep.tif": lambda photo: _encoded(".tif", photo.astype(np.uint16) * 257),
        "color.bmp": lambda photo: _encoded(".bmp", photo),
        "color.gif": lambda photo: _encoded(".gif", photo),
        "grey.pgm": lambda photo: _encoded(".pgm", _grey(photo)),
        "color.ppm": lambda photo: _encoded(".ppm", photo),
        **(avif if cv2.haveImageWriter(".avif") else {}),
    }


def by_pillow() -> dict[str, Encode]:
    """What only Pillow writes. Raises ImportError where it is not installed."""
    from PIL import Image

    def saved(image: Any, form: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        return buffer.getvalue()

    def several(photo: Photo, form: str) -> bytes:
        frames = [Image.fromarray(each) for each in (photo, np.ascontiguousarray(photo[::-1]))]
        return saved(frames[0], form, save_all=True, append_images=frames[1:])

    def cmyk(photo: Photo) -> bytes:
        return saved(Image.fromarray(photo).convert("CMYK"), "JPEG")

    avif: dict[str, Encode] = {"several.avif": lambda photo: several(photo, "AVIF")}
    return {
        "adobe.jpg": cmyk,
        "cmyk.jpg": lambda photo: _without_adobe(cmyk(photo)),
        "profile.jpg": lambda photo: saved(Image.fromarray(photo), "JPEG", icc_profile=bytes(3000)),
        "palette.png": lambda photo: saved(Image.fromarray(photo).quantize(200), "PNG", transparency=7),
        "palette.bmp": lambda photo: saved(Image.fromarray(photo).quantize(200), "BMP"),
        "palette.tif": lambda photo: saved(Image.fromarray(photo).quantize(200), "TIFF"),
        "jpeg.tif": lambda photo: saved(Image.fromarray(photo), "TIFF", compression="jpeg"),
        "interlaced.gif": lambda photo: saved(Image.fromarray(photo).quantize(200), "GIF", transparency=3),
        "several.gif": lambda photo: several(photo, "GIF"),
        "several.webp": lambda photo: several(photo, "WEBP"),
        "several.png": lambda photo: several(photo, "PNG"),
        "several.tif": lambda photo: several(photo, "TIFF"),
        **(avif if cv2.haveImageWriter(".avif") else {}),
    }


def turned(photo: Photo, orientation: int, suffix: str) -> bytes:
    """The photograph with that orientation in its EXIF; of a TIFF in its directory, of an AVIF as turn and mirror."""
    if suffix == ".tif":
        return _plain_tiff(photo, tag274=orientation)
    if suffix == ".avif":
        return _turned_avif(photo, orientation)
    content = _encoded(suffix, photo)
    block = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + bytes(4)
    if suffix == ".jpg":
        return _with_segment(content, 0xE1, b"Exif\0\0" + block)
    if suffix == ".png":
        return content[:33] + _chunk(b"eXIf", block) + content[33:]
    height, width = photo.shape[:2]
    canvas = struct.pack("<I", 0x08) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + _riff(b"VP8X", canvas) + content[12:] + _riff(b"EXIF", block)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _turned_avif(photo: Photo, orientation: int) -> bytes:
    from PIL import Image

    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(photo).save(buffer, "AVIF", exif=exif.tobytes(), speed=9)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------------------------
# What no accident makes


def all_of(photo: Photo, *, side: int) -> Iterator[Odd]:
    """All of them; bombs that are allowed have about `side` x `side` pixels."""
    yield from _lies(photo)
    yield from _bombs(side)
    yield from _loops(photo)
    yield from _crowds(photo)
    yield from _strangers()


def make_no_files(folder: Path, *, max_bytes: int) -> tuple[list[tuple[str, str, Verdict]], list[str]]:
    """What cannot be read: uri, what it is, verdict; and what could not be made here, in words."""
    made: list[tuple[str, str, Verdict]] = []
    left_out = []
    place = folder / "no files"
    (place / "folder.png").mkdir(parents=True)
    made.append(("no files/folder.png", "a folder with a picture's name", "no file"))
    for name, what in (("large.png", _PNG), ("large.jpg", b"\xff\xd8\xff\xe0")):
        with (place / name).open("wb") as file:
            file.write(what)
            file.truncate(max_bytes + 1)  # a hole: hardly a byte on the disk
        made.append((f"no files/{name}", "larger than --max-bytes", "bad"))
    try:
        (place / "nowhere.jpg").symlink_to("gone.jpg")
        (place / "circle.jpg").symlink_to("circle.jpg")
        made += [(f"no files/{name}", "a link to nothing", "bad") for name in ("nowhere.jpg", "circle.jpg")]
    except OSError:
        left_out.append("links: this user may not make any")
    if hasattr(os, "mkfifo"):
        os.mkfifo(place / "pipe.png")
        made.append(("no files/pipe.png", "a pipe", "bad"))
    else:
        left_out.append("a pipe: this system has none with names")
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        (place / "secret.png").write_bytes(_PNG)
        (place / "secret.png").chmod(0)
        made.append(("no files/secret.png", "not readable", "bad"))
    else:
        left_out.append("a file that may not be read: this user may read all")
    return made, left_out


def _lies(photo: Photo) -> Iterator[Odd]:
    """Files of a few kilobytes that declare more than a hundred million pixels."""
    what = "a huge declared size"
    jpeg, bmp, gif = (bytearray(_encoded(suffix, photo)) for suffix in (".jpg", ".bmp", ".gif"))
    webp = bytearray(_encoded(".webp", photo, [cv2.IMWRITE_WEBP_QUALITY, 80]))
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 4] = struct.pack(">HH", 65_500, 65_500)
    yield Odd("huge/baseline.jpg", bytes(jpeg), what)
    jpeg = bytearray(_encoded(".jpg", photo, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]))
    start = jpeg.index(b"\xff\xc2") + 5
    jpeg[start : start + 4] = struct.pack(">HH", 9_999, 9_999)
    yield Odd("huge/allowed.jpg", bytes(jpeg), "a declared size that the bytes cannot hold")
    start = webp.index(b"\x9d\x01\x2a") + 3
    webp[start : start + 4] = struct.pack("<HH", 16_383, 16_383)
    yield Odd("huge/frame.webp", bytes(webp), what)
    canvas = b"WEBPVP8X\x0a\0\0\0" + b"\x10\0\0\0" + b"\xff\xff\xff" * 2
    yield Odd("huge/canvas.webp", b"RIFF" + struct.pack("<I", len(canvas)) + canvas, what)
    bmp[18:26] = struct.pack("<ii", 60_000, -60_000)
    yield Odd("huge/plain.bmp", bytes(bmp), what)
    runs = struct.pack("<IiiHHIIiiII", 40, 50_000, 50_000, 1, 8, 1, 2, 0, 0, 256, 0) + bytes(1024) + b"\0\1"
    yield Odd("huge/runs.bmp", b"BM" + struct.pack("<IHHI", 1080, 0, 0, 1078) + runs, what)
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    yield Odd("huge/screen.gif", bytes(gif), what)
    yield Odd("huge/declared.tif", tiff(60_000, 60_000, bytes(64)), what)
    yield Odd("huge/deflated.tif", tiff(60_000, 60_000, zlib.compress(bytes(1 << 20)), compression=8), what)
    yield Odd("huge/tile.tif", tiff(8, 8, bytes(64), tag322=60_000, tag323=60_000), "a huge tile")
    one_strip = struct.pack("<HHI", 273, 4, 1)
    numbers = tiff(8, 8, bytes(64)).replace(one_strip, struct.pack("<HHI", 273, 4, 2**31))
    yield Odd("huge/numbers.tif", numbers, "two thousand million numbers in a field")
    yield Odd("huge/declared.png", png(2**31 - 1, 2**31 - 1, 8, 2, zlib.compress(bytes(100))), what)
    yield Odd("huge/declared.ppm", b"P6 60000 60000 255\n" + bytes(64), what)
    yield Odd("huge/valid.png", flat_png(50_000, 50_000, 1, 0), "50,000 x 50,000 pixels, valid")
    if cv2.haveImageWriter(".avif"):
        avif = bytearray(_encoded(".avif", photo))
        start = avif.index(b"ispe") + 8
        avif[start : start + 8] = struct.pack(">II", 60_000, 60_000)
        yield Odd("huge/declared.avif", bytes(avif), what)


def _bombs(side: int) -> Iterator[Odd]:
    """Valid pictures of a few kilobytes that are large, and allowed: twice, so that several threads meet one each."""
    half = int(side / 2**0.5) // 100 * 100  # of those whose pixels count twice
    flat = np.zeros((side, side, 3), np.uint8)
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    progressive += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    rgb_strip = deflated_zeros(3 * side * side)
    bombs = {
        "bits.png": (flat_png(side, side, 1, 0), side),
        "color.png": (flat_png(side, side, 8, 2), side),
        "alpha.png": (flat_png(side, side, 8, 6), side),
        "deep.png": (flat_png(half, half, 16, 6), half),
        "progressive.jpg": (_encoded(".jpg", flat, progressive), side),
        "turned.jpg": (_with_segment(_encoded(".jpg", flat), 0xE1, _EXIF_TURN), side),
        "strip.tif": (tiff(side, side, rgb_strip, samples=3, bits=[8] * 3, color=2, compression=8), side),
        "lossless.webp": (_encoded(".webp", flat, [cv2.IMWRITE_WEBP_QUALITY, 101]), side),
    }
    if cv2.haveImageWriter(".avif"):
        bombs["color.avif"] = (_encoded(".avif", flat[:half, :half], [cv2.IMWRITE_AVIF_SPEED, 10]), half)
    for copy in ("bombs", "bombs again"):
        for name, (content, size) in bombs.items():
            yield Odd(f"{copy}/{name}", content, "a large picture in a small file", "good", (size, size))
    runs = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 2, 0, 0, 256, 0) + bytes(1024) + b"\0\1"
    content = b"BM" + struct.pack("<IHHI", 1080, 0, 0, 1078) + runs
    yield Odd("bombs/runs.bmp", content, "a picture that ends before its first row", "either")


def _loops(photo: Photo) -> Iterator[Odd]:
    """Directories that lead back to themselves; the picture before them is as good as ever."""
    what, size = "a directory that leads to itself", photo.shape[:2]
    own = b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<HHII", 0x014A, 4, 1, 8)
    exif = own + struct.pack("<I", 8)  # the next directory, EXIF's own and the one below: this one
    jpeg = _encoded(".jpg", photo)
    yield Odd("loops/exif.jpg", _with_segment(jpeg, 0xE1, b"Exif\0\0" + exif), what, "good", size)
    chain = b"".join(struct.pack("<HI", 0, 8 + 6 * number) for number in range(1, 5000)) + struct.pack("<HI", 0, 8)
    yield Odd("loops/chain.jpg", _with_segment(jpeg, 0xE1, b"Exif\0\0II*\0\x08\0\0\0" + chain), what, "good", size)
    content = _encoded(".png", photo)
    yield Odd("loops/exif.png", content[:33] + _chunk(b"eXIf", exif) + content[33:], what, "good", size)
    plain = _plain_tiff(photo)
    yield Odd("loops/next.tif", plain[:-10] + plain[4:8] + plain[-6:], what, "good", size)
    below = _plain_tiff(photo, tag330=int.from_bytes(plain[4:8], "little"))
    yield Odd("loops/below.tif", below, what, "good", size)
    before = tiff(8, 8, bytes(64)).replace(struct.pack("<I", 8 + 64), struct.pack("<I", 2), 1)
    yield Odd("loops/signature.tif", before, "a directory inside the signature")


def _crowds(photo: Photo) -> Iterator[Odd]:
    """Parts by the thousand, and parts that unpack to gigabytes."""
    size = photo.shape[:2]
    jpeg = _encoded(".jpg", photo)
    notes = b"\xff\xfe\0\x04hm" * 5_000
    yield Odd("crowds/notes.jpg", jpeg[:2] + notes + jpeg[2:], "five thousand segments", "good", size)
    notes = b"\xff\xe0\0\x02" * 150_000
    yield Odd("crowds/segments.jpg", jpeg[:2] + notes + jpeg[2:], "150,000 segments")
    progressive = _encoded(".jpg", photo, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    yield Odd("crowds/scans.jpg", progressive[:-2] + scan * 300 + b"\xff\xd9", "three hundred scans")
    content = _encoded(".png", photo)
    gigabyte = deflated_zeros(1 << 30)
    text, profile = _chunk(b"zTXt", b"Comment\0\0" + gigabyte), _chunk(b"iCCP", b"profile\0\0" + gigabyte)
    for name, chunk in (("text.png", text), ("profile.png", profile)):
        yield Odd(f"crowds/{name}", content[:33] + chunk + content[33:], "a note that unpacks to 1 GB", "good", size)
    chunks = _chunk(b"tEXt", b"a\0b") * 20_000
    yield Odd("crowds/notes.png", content[:33] + chunks + content[33:], "20,000 chunks", "good", size)
    yield Odd("crowds/chunks.png", content[:33] + _chunk(b"tEXt", b"") * 150_000 + content[33:], "150,000 chunks")
    overfull = png(9, 9, 8, 0, gigabyte)
    yield Odd("crowds/overfull.png", overfull, "81 pixels that unpack to 1 GB", "either")
    blocks = b"\x21\xf9\x04\0\0\0\0\0" * 50_000
    gif = _encoded(".gif", photo)
    start = 13 + (3 << (gif[10] & 7) + 1 if gif[10] & 0x80 else 0)
    yield Odd("crowds/blocks.gif", gif[:start] + blocks + gif[start:], "50,000 blocks", "either")


def _strangers() -> Iterator[Odd]:
    """What lies among pictures under their names and is none."""
    rng = np.random.default_rng(0)
    floats = [cv2.imencode(suffix, np.ones((4, 4, 3), np.float32))[1].tobytes() for suffix in (".hdr", ".tiff")]
    strangers = {
        "empty.jpg": b"",
        "one byte.png": b"\x89",
        "text.jpg": b"This is no picture.\n" * 20,
        "page.png": b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n",
        "drawing.png": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "archive.jpg": b"PK\x05\x06" + bytes(18),
        "document.png": b"%PDF-1.7\n" + bytes(100),
        "radiance.jpg": floats[0],
        "floats.tiff": floats[1],
        "signature.png": _PNG,
        "signature.jpg": b"\xff\xd8\xff\xd9",
        "zeros.png": bytes(5000),
        "ones.jpg": b"\xff" * 5000,
        "markers.jpg": b"\xff\xd8" + b"\xff\x01" * 5000,
        "endless.tif": b"II*\0" + struct.pack("<I", 8) + b"\xff" * 500,
        "jpeg 2000.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
        **{f"noise {number}.jpg": rng.bytes(2000) for number in range(4)},
    }
    for name, content in strangers.items():
        yield Odd(f"strangers/{name}", content, "no picture")


# ------------------------------------------------------------------------------------------------------------------
# Byte by byte

_EXIF_TURN = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4)


def png(width: int, height: int, bits: int, color_type: int, pixels: bytes, *, is_interlaced: bool = False) -> bytes:
    """A PNG of a zlib stream of filtered rows."""
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, is_interlaced)
    return _PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def flat_png(width: int, height: int, bits: int, color_type: int) -> bytes:
    """A valid PNG of nothing but zeros, however large."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[color_type]
    row_bytes = 1 + (width * bits * samples + 7) // 8
    return png(width, height, bits, color_type, deflated_zeros(row_bytes * height))


def deflated_zeros(num_bytes: int) -> bytes:
    """The zlib stream of that many zeros, without ever having them in memory."""
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    begin = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # alike wherever it stands
    whole, rest = divmod(num_bytes, len(block))
    if not whole:
        return zlib.compress(bytes(num_bytes), 9)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = last.compress(bytes(rest)) + last.flush()
    checksum = (num_bytes % 65521 << 16) + 1  # Adler's, of zeros
    return begin + again * (whole - 1) + end + struct.pack(">I", checksum)


def tiff(width: int, height: int, pixels: bytes, **fields: int | list[int]) -> bytes:
    """A TIFF of one strip, by default plain 8-bit grey; `fields` are those of `_TAGS`, or `tagN`, and their values.

    Its directory follows the pixels, and what does not fit into it follows the directory.
    """
    values: dict[str, int | list[int]] = {
        "width": width, "height": height, "bits": 8, "compression": 1, "color": 1, "tag273": 8, "samples": 1,
        "tag278": height, "tag279": len(pixels), **fields,
    }  # fmt: skip
    numbers = {_TAGS.get(name) or int(name.removeprefix("tag")): value for name, value in values.items()}
    start = 8 + len(pixels) + len(pixels) % 2
    beyond = start + 2 + 12 * len(numbers) + 4
    entries, tail = b"", b""
    for tag, value in sorted(numbers.items()):
        several = value if isinstance(value, list) else [value]
        packed = struct.pack(f"<{len(several)}I", *several) if len(several) == 1 else _shorts(several)
        kind = 4 if len(several) == 1 else 3
        if len(packed) > 4:
            packed, tail = struct.pack("<I", beyond + len(tail)), tail + packed
        entries += struct.pack("<HHI", tag, kind, len(several)) + packed
    directory = struct.pack("<H", len(numbers)) + entries + bytes(4) + tail
    return b"II*\0" + struct.pack("<I", start) + pixels + bytes(len(pixels) % 2) + directory


def _plain_tiff(photo: Photo, **fields: int) -> bytes:
    """8-bit RGB; the last ten bytes are the pointer to the next directory, and the three numbers of bits."""
    return tiff(photo.shape[1], photo.shape[0], photo.tobytes(), samples=3, bits=[8] * 3, color=2, **fields)


def _shorts(numbers: list[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}H", *numbers)


def _encoded(suffix: str, pixels: NDArray[np.integer[Any]], options: list[int] | None = None) -> bytes:
    """By OpenCV, of RGB, RGBA or grey."""
    bgr: NDArray[Any] = pixels
    if pixels.ndim == 3:
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    return cv2.imencode(suffix, bgr, options or [])[1].tobytes()


def _grey(photo: Photo) -> Photo:
    return cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def _with_alpha(photo: Photo) -> Photo:
    """What is dark is more transparent."""
    return np.dstack([photo, photo.max(axis=2)])


def _bits(photo: Photo) -> tuple[int, int, int, int, bytes]:
    """Black and white, one bit each: the arguments of `png`."""
    rows = np.packbits(photo[..., 1] > 127, axis=1)  # [H, ceil(W / 8)]
    return photo.shape[1], photo.shape[0], 1, 0, zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))


def _interlaced(photo: Photo) -> bytes:
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = [b"\0" + row.tobytes() for top, left, down, across in passes for row in photo[top::down, left::across]]
    return png(photo.shape[1], photo.shape[0], 8, 2, zlib.compress(b"".join(rows)), is_interlaced=True)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _riff(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _with_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


def _without_adobe(jpeg: bytes) -> bytes:
    start = jpeg.index(b"\xff\xee")
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big") :]
