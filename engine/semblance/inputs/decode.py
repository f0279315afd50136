"""One picture, in whatever form it comes, as [H, W, C] uint8 pixels.

In: a file, encoded bytes or an array. Out: pixels in the colours a model eats. The rules, all of them here:

    orientation    EXIF is applied, so the pixels stand as a viewer shows them; a picture with an alpha channel is
                   taken as it is stored
    colour         RGB order; RGB to grey by 0.299 R + 0.587 G + 0.114 B; grey to RGB by repetition
    transparency   laid over white
    16 bits        scaled to 8 by 255 / 65535, rounded; floating-point pixels are refused
    several frames the first
    arrays         uint8 [H, W], [H, W, 1] or [H, W, 3] RGB; nothing else is guessed at
    damage         a picture that cannot be read to its end is refused
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.errors import ImageError, InputError

_EXPECTED_FILE = "expected an image file that OpenCV reads (JPEG, PNG, WebP, TIFF, BMP, ...)"
_EXPECTED_ARRAY = "expected uint8 [H, W], [H, W, 1] or [H, W, 3] (RGB)"


def decode(content: Path | str | bytes | NDArray[np.uint8], *, channels: int) -> NDArray[np.uint8]:
    """A picture as [H, W, channels] uint8, 0-255: grey for `channels=1`, RGB for 3.

    An array that already has that form is returned as it is, not copied. Raises ImageError for what is no usable
    picture, InputError for other `channels`.
    """
    if channels not in (1, 3):
        raise InputError(f"channels must be 1 (grey) or 3 (RGB), is {channels!r}")
    if isinstance(content, np.ndarray):
        return _to_channels(_checked_array(content), channels)
    if isinstance(content, bytes | bytearray | memoryview):
        return _to_channels(_decode_bytes(bytes(content), f"{len(content)} bytes"), channels)
    if isinstance(content, Path | str):
        path = Path(content)
        return _to_channels(_decode_bytes(_read(path), str(path)), channels)
    raise ImageError(f"a picture cannot be a {type(content).__name__}; give a path, encoded bytes or a uint8 array")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file; {_EXPECTED_FILE}") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path}: a folder; {_EXPECTED_FILE}; give a folder where a source is asked for") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read ({error}); {_EXPECTED_FILE}") from error


# ------------------------------------------------------------------------------------------------------------------
# Encoded pictures


def _decode_bytes(encoded: bytes, name: str) -> NDArray[np.uint8]:
    """[H, W] or [H, W, 3] RGB."""
    if not encoded:
        raise ImageError(f"{name}: empty (zero bytes); {_EXPECTED_FILE}; copy it again")
    # OpenCV turns by EXIF in every mode but UNCHANGED, which is the only one that keeps the alpha channel
    flags = cv2.IMREAD_UNCHANGED if _may_have_alpha(encoded) else cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    try:
        with _quiet():
            pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"{name}: OpenCV refuses it ({error.err or error}); {_EXPECTED_FILE}") from error
    if pixels is None:
        raise ImageError(f"{name}: not an image, damaged or cut short; {_EXPECTED_FILE}; replace or remove it")
    return _opaque_rgb(_to_8_bits(pixels, name))


def _may_have_alpha(encoded: bytes) -> bool:
    """By the header. JPEG has none; PNG: colour type, or a tRNS chunk before the pixels; WebP: VP8X and VP8L flags."""
    if encoded[:3] == b"\xff\xd8\xff":
        return False
    if encoded[:8] == b"\x89PNG\r\n\x1a\n":
        return encoded[25:26] in (b"\4", b"\6") or b"tRNS" in encoded[: max(encoded.find(b"IDAT"), 0)]
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP" and len(encoded) > 24:
        return {b"VP8X": bool(encoded[20] & 0x10), b"VP8L": bool(encoded[24] & 0x10)}.get(encoded[12:16], False)
    return True


def _to_8_bits(pixels: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 255 * 257
    raise ImageError(f"{name}: its pixels are {pixels.dtype}; expected 8 or 16 bits; convert it to PNG or JPEG first")


def _opaque_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """OpenCV's [H, W], [H, W, 3] BGR or [H, W, 4] BGRA -> [H, W] or [H, W, 3] RGB."""
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 3:
        return _uint8(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    color = pixels[:, :, 2::-1].astype(np.uint16)  # [H, W, 3] RGB
    alpha = pixels[:, :, 3:].astype(np.uint16)  # [H, W, 1]
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


# ------------------------------------------------------------------------------------------------------------------
# Arrays, and colour


def _checked_array(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    is_shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3))
    if pixels.dtype == np.uint8 and is_shaped and pixels.size:
        return pixels
    given = f"an array of {pixels.dtype} {list(pixels.shape)}"
    if pixels.dtype != np.uint8:
        hint = "; scale it to 0-255 and use .astype(np.uint8)" if pixels.dtype.kind in "fb" else ""
        raise ImageError(f"{given} is not a picture; {_EXPECTED_ARRAY}{hint}")
    if pixels.ndim == 4:
        raise ImageError(f"{given} is a batch, not one picture; {_EXPECTED_ARRAY}; give its pictures one by one")
    raise ImageError(f"{given} {'is not a picture' if pixels.size else 'has no pixels'}; {_EXPECTED_ARRAY}")


def _to_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """[H, W], [H, W, 1] or [H, W, 3] RGB -> [H, W, channels]."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == channels:
        return pixels
    source = np.ascontiguousarray(pixels)
    if channels == 3:
        return _uint8(cv2.cvtColor(source, cv2.COLOR_GRAY2RGB))
    return _uint8(cv2.cvtColor(source, cv2.COLOR_RGB2GRAY))[:, :, None]


def _uint8(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """OpenCV's stubs promise any integer; its functions keep the dtype they are given."""
    assert pixels.dtype == np.uint8
    return pixels.astype(np.uint8, copy=False)


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
