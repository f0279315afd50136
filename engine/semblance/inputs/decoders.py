"""Encoded bytes whose header is known -> their pixels as they are stored, by OpenCV or, for one odd kind, Pillow.

In: bytes and their `Header`. Out: [H, W] or [H, W, C] pixels, RGB or RGBA, of 8 or 16 bits, exactly as many as the
header declares. OpenCV is asked for the one form that the header calls for, so that it converts nothing behind our
backs.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.errors import ImageError
from semblance.inputs.formats.jpeg import without_notes
from semblance.inputs.formats.png import only_pixels
from semblance.inputs.formats.pnm import with_end_of_line
from semblance.inputs.header import Header
from semblance.inputs.limits import EXPECTED_FILE

_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}  # "grayscale" is the absence of the flag for colour
_CLEANED = {"PNG": only_pixels, "PNM": with_end_of_line}  # of what OpenCV stumbles over
_PIXELS_AT_ONCE = 1 << 16  # arithmetic on a whole picture would take several times its memory


def decode_stored(
    encoded: bytes, header: Header, name: str, *, factor: int = 1, is_for_grey: bool = False
) -> NDArray[np.generic]:
    """[H, W] grey, [H, W, 3] RGB or [H, W, 4] RGBA, uint8 or uint16; a JPEG's sides divided by `factor`, rounded up.

    With `is_for_grey` a JPEG in colour comes as its luminance, where it has one. Not turned by its orientation, but
    for a TIFF. Raises ImageError, whose message begins with `name`, where it is damaged or its pixels are not as many
    as declared.
    """
    pixels: NDArray[np.generic]
    if header.format == "JPEG" and header.color == "cmyk" and not header.has_adobe_marker:
        pixels = _plain_cmyk(encoded, name)
    else:
        if header.format in _CLEANED:
            encoded = _CLEANED[header.format](encoded)
        is_grey = header.color == "grey" or (is_for_grey and header.has_luminance)
        pixels = _by_opencv(encoded, header, name, factor, is_grey=is_grey)
    height, width = -(-header.height // factor), -(-header.width // factor)
    if header.format == "TIFF" and header.orientation >= 5:  # OpenCV turns these whatever it is told
        height, width = width, height
    if pixels.shape[:2] != (height, width):
        raise ImageError(
            f"{name}: damaged: its header declares {height} x {width} pixels, there are {pixels.shape[0]} x "
            f"{pixels.shape[1]}; replace or remove it"
        )
    return pixels


def in_pieces(
    pixels: NDArray[Any], channels: int, function: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[np.uint8]:
    """`function` over a few [n, C] pixels of [H, W, C] at a time -> [H, W, channels] uint8."""
    flat = pixels.reshape(-1, pixels.shape[2])
    out = np.empty((len(flat), channels), np.uint8)
    for start in range(0, len(flat), _PIXELS_AT_ONCE):
        out[start : start + _PIXELS_AT_ONCE] = function(flat[start : start + _PIXELS_AT_ONCE])
    return out.reshape(*pixels.shape[:2], channels)


def single_threaded() -> None:
    """OpenCV works in the caller's thread from now on, in the whole process.

    For programs that decode in threads of their own: OpenCV's inner threads would compete with those for the cores.
    """
    cv2.setNumThreads(1)


def said_by_opencv(error: cv2.error) -> str:
    """What OpenCV says of an error, in one line, without where in its sources; `error.err` may be another thread's."""
    return " ".join(str(error).split()).rpartition("error: ")[2]


def _by_opencv(encoded: bytes, header: Header, name: str, factor: int, *, is_grey: bool) -> NDArray[np.generic]:
    is_rgb = False
    if header.alpha != "none":
        flags = cv2.IMREAD_UNCHANGED  # the only way to alpha; it is -1 and knows no other flags
    elif is_grey:
        flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED[factor]
    else:
        is_rgb = header.bits <= 8  # of a TIFF with 16 bits IMREAD_COLOR_RGB makes noise
        flags = cv2.IMREAD_COLOR_RGB if is_rgb else cv2.IMREAD_COLOR
        flags |= cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED[factor]
    if header.bits == 16:
        flags |= cv2.IMREAD_ANYDEPTH
    try:
        with _quiet():
            pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"{name}: OpenCV refuses it ({said_by_opencv(error)}); {EXPECTED_FILE}") from error
    if pixels is None:
        raise ImageError(
            f"{name}: damaged, cut short, or of a kind that OpenCV cannot read; {EXPECTED_FILE}; replace or remove it"
        )
    if header.transparent_grey is not None:
        pixels[pixels == header.transparent_grey] = 255 if pixels.dtype == np.uint8 else 65535
    if header.format == "BMP" and header.bits < 8:
        pixels = _with_low_bits(pixels, header.bits)
    if not is_rgb and pixels.ndim == 3:
        cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB, dst=pixels)
    return pixels


def _with_low_bits(pixels: NDArray[Any], green_bits: int) -> NDArray[np.uint8]:
    """[H, W, 3] of 5 bits, or 6 for green, which OpenCV leaves in the upper part of 8 -> white is 255."""
    filled: NDArray[np.uint8] = pixels | pixels >> 5
    filled[..., 1] = pixels[..., 1] | pixels[..., 1] >> green_bits
    return filled


def _plain_cmyk(encoded: bytes, name: str) -> NDArray[np.uint8]:
    """[H, W, 3] RGB of a CMYK JPEG without Adobe's marker, which OpenCV would take for inverted."""
    try:
        from PIL.JpegImagePlugin import JpegImageFile  # Image.open would warn of large pictures, which were counted
    except ImportError as error:
        raise ImageError(
            f"{name}: a CMYK JPEG without Adobe's marker, which takes Pillow to read; pip install pillow, or convert it"
        ) from error
    try:
        with JpegImageFile(io.BytesIO(without_notes(encoded))) as image:  # and of EXIF that is damaged
            inverted = np.asarray(image)  # [H, W, 4]: Pillow takes every CMYK JPEG for Adobe's and inverts it
    except Exception as error:  # whatever it is, it is about this one file
        raise ImageError(f"{name}: Pillow refuses it ({error}); {EXPECTED_FILE}; replace or remove it") from error
    if inverted.ndim != 3 or inverted.shape[2] != 4:
        raise ImageError(f"{name}: damaged: CMYK is declared, and is not there; replace or remove it")
    return in_pieces(inverted, 3, lambda part: (part[:, :3].astype(np.uint16) * part[:, 3:] + 127) // 255)


# ------------------------------------------------------------------------------------------------------------------
# OpenCV's log: a damaged file raises ImageError, and a warning on stderr beside it would only double it

_quiet_lock = threading.Lock()
_num_quiet = 0
_level_before = 0


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV's log level is the process's: the first thread in silences it, the last one out restores it."""
    global _num_quiet, _level_before
    log = cv2.utils.logging
    with _quiet_lock:
        if _num_quiet == 0:
            _level_before = log.getLogLevel()
            log.setLogLevel(log.LOG_LEVEL_SILENT)
        _num_quiet += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _num_quiet -= 1
            if _num_quiet == 0:
                log.setLogLevel(_level_before)
