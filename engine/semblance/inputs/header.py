"""What a picture's header declares, read before anything is decoded: a few kilobytes may claim to be gigabytes.

In: encoded bytes. Out: their `Header`. The content decides what it is, never a file's name. Nothing reaches a decoder
whose size is not known here, so a format that has no parser is refused: to add one, write a file in `formats` and its
row below.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from semblance.errors import ImageError
from semblance.inputs.formats import avif, bmp, gif, jpeg, png, pnm, tiff, webp
from semblance.inputs.formats.base import Header
from semblance.inputs.limits import EXPECTED_FILE

__all__ = ["Header", "read_header"]

_Signature = bytes | tuple[bytes, ...]
_READERS: tuple[tuple[_Signature, Callable[[bytes], Header]], ...] = (
    (jpeg.SIGNATURE, jpeg.read),
    (png.SIGNATURE, png.read),
    (gif.SIGNATURES, gif.read),
    (tiff.SIGNATURES, tiff.read),
    (bmp.SIGNATURE, bmp.read),
    (pnm.SIGNATURES, pnm.read),
)
_OTHERS: dict[bytes, str] = {
    b"\0\0\0\x0cjP  ": "a JPEG 2000",
    b"\xff\x4f\xff\x51": "a JPEG 2000",
    b"#?RADIANCE": "a Radiance picture of floating-point pixels",
    b"#?RGBE": "a Radiance picture of floating-point pixels",
    b"v/1\x01": "an OpenEXR picture",
    b"8BPS": "a Photoshop document",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
}


def read_header(encoded: bytes, name: str) -> Header:
    """What `encoded` declares of itself; `name` begins the messages.

    Raises ImageError: not an image, of a format or kind that is not read, damaged, or cut short.
    """
    if not encoded:
        raise ImageError(f"{name}: empty (zero bytes); {EXPECTED_FILE}; copy it again")
    reader = _reader(encoded)
    if reader is None:
        raise ImageError(f"{name}: not an image that is read here{_guess(encoded)}; {EXPECTED_FILE}")
    try:
        header = reader(encoded)
    except (struct.error, IndexError) as error:
        raise ImageError(f"{name}: cut short: it ends within its header; replace or remove it") from error
    except ImageError as error:
        raise ImageError(f"{name}: {error}; replace or remove it") from error
    if header.height < 1 or header.width < 1:
        raise ImageError(f"{name}: damaged: a size of {header.height} x {header.width}; replace or remove it")
    return header


def _reader(encoded: bytes) -> Callable[[bytes], Header] | None:
    for signature, read in _READERS:
        if encoded.startswith(signature):
            return read
    if encoded.startswith(webp.SIGNATURE) and encoded[8:12] == b"WEBP":
        return webp.read
    return avif.read if avif.is_avif(encoded) else None


def _guess(encoded: bytes) -> str:
    """What it may be instead, for a message."""
    for signature, what in _OTHERS.items():
        if encoded.startswith(signature):
            return f" but {what}; convert it first" if "pict" in what or "JPEG" in what else f" but {what}"
    if encoded[:64].lstrip().startswith(b"<"):
        return " but HTML or XML, perhaps the page of a failed download"
    return " but something else, or damaged in its first bytes"
