"""Orientation as decode's table has it, in every format that has one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from semblance.inputs.decode import decode
from tests.semblance.inputs.pictures import (
    COLOR,
    GREY,
    HAS_AVIF,
    RGBA,
    Image,
    ImageOps,
    Pixels,
    assert_close,
    encode,
    opened,
    over_white,
)

_TURNED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p[::-1].swapaxes(0, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p.swapaxes(0, 1)[::-1],
}  # row 0 and column 0 of the stored picture lie where EXIF 2.3, 4.6.4 A says
_ORIENTED: dict[str, tuple[Any, str, dict[str, object]]] = {
    "JPEG": (COLOR, "JPEG", {}),
    "grey JPEG": (GREY, "JPEG", {}),
    "PNG": (COLOR, "PNG", {}),
    "PNG with alpha": (RGBA, "PNG", {}),
    "WebP": (COLOR, "WEBP", {}),
    "WebP with alpha": (RGBA, "WEBP", {"lossless": True}),
    "TIFF": (COLOR, "TIFF", {}),
    "TIFF with alpha": (RGBA, "TIFF", {}),
    "AVIF": (COLOR, "AVIF", {"quality": 100}),
    "AVIF with alpha": (RGBA, "AVIF", {"quality": 100}),
    "grey AVIF": (GREY, "AVIF", {"quality": 100}),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", _ORIENTED)
def test_orientation_is_applied_in_every_format_that_has_one(kind: str, orientation: int) -> None:
    if "AVIF" in kind and not HAS_AVIF:
        pytest.skip("this OpenCV was built without AVIF")
    image, form, options = _ORIENTED[kind]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(image, form, exif=exif.tobytes(), **options)  # of AVIF Pillow makes its own turn and mirror
    if form == "TIFF":
        content = encode(image, form, tiffinfo={0x0112: orientation})
    stored = opened(encode(image, form, **options))
    expected = _TURNED[orientation](over_white(stored))
    np.testing.assert_array_equal(expected, over_white(ImageOps.exif_transpose(opened(content))))
    # OpenCV hands a TIFF's colours over as multiplied by alpha in 8 bits, where they lose up to half a level each
    assert_close(decode(content, channels=3), expected, most=1 if kind == "TIFF with alpha" else 0)
    upright = decode(encode(image, form, **options), channels=1)
    np.testing.assert_array_equal(decode(content, channels=1), _TURNED[orientation](upright))


def test_exif_is_read_in_both_byte_orders_and_its_damage_is_not_the_pictures() -> None:
    jpeg = encode(COLOR, "JPEG")
    entries = {
        "<": b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4),
        ">": b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4),
    }
    stored = np.asarray(opened(jpeg))
    for block in entries.values():
        for damaged, expected in ((block, _TURNED[6](stored)), (block[:-9], stored), (block[:12], stored)):
            segment = b"\xff\xe1" + struct.pack(">H", len(damaged) + 2) + damaged
            np.testing.assert_array_equal(decode(jpeg[:2] + segment + jpeg[2:], channels=3), expected)
