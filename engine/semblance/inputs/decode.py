"""One picture, in whatever form it comes, as [H, W, C] uint8 pixels.

In: a file, encoded bytes or an array. Out: pixels in the colours a model eats. The rules, all of them here:

    formats        JPEG, PNG, WebP, TIFF, BMP, GIF, PBM/PGM/PPM, and AVIF where OpenCV was built with it; the content
                   decides, a file's name does not; any other is refused
    limits         a file's bytes, then the pixels its header declares, before anything is decoded; those of 16 bits in
                   colour, of an AVIF, an animated WebP and a CMYK JPEG count twice, since these take more memory;
                   pixels that are not as many as declared are refused
    orientation    applied, so the pixels stand as a viewer shows them: EXIF's of JPEG, PNG, WebP and TIFF, with an
                   alpha channel or without, and AVIF's own turns and mirrors
    colour         RGB order; grey to RGB by repetition; palettes are looked up; colour profiles are not applied
    grey           of a JPEG stored as YCbCr, which nearly all in colour are, its own luminance, as libjpeg gives it;
                   of anything else, arrays too, 0.299 R + 0.587 G + 0.114 B. The two differ where RGB was clipped
    CMYK           red is (255 - C) (255 - K) / 255, and so on, to within 2; a JPEG's is stored inverted where it has
                   Adobe's marker and only there (one without takes Pillow)
    transparency   laid over white, also a palette's, a grey's and a single transparent colour; of a BMP where its
                   header has a mask for alpha; of a TIFF that is RGBA, other TIFFs with alpha are refused
    bits           1 to 8 are scaled to 8; 16 by 255 / 65535, rounded; an AVIF's 10 and 12 by its decoder; pixels that
                   are signed or floating-point are refused
    several frames the first of a GIF, WebP, AVIF or TIFF; of an animated PNG the still picture that it is elsewhere
    layers of scan interlaced and progressive pictures as any other, once complete
    damage         cut short is refused in every format, what follows the end of a picture is ignored; flipped bits
                   are refused where OpenCV notices (PNG always; of a JPEG, TIFF, BMP or PNM it does not)
    arrays         uint8 [H, W], [H, W, 1] or [H, W, 3] RGB; nothing else is guessed at
    large JPEGs    with `Limits(is_scaled=True)` at 1/2, 1/4 or 1/8 of their size, if `reduce_to` says for what
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.errors import ImageError, InputError
from semblance.inputs.decoders import decode_stored, in_pieces, single_threaded
from semblance.inputs.formats.png import has_surplus
from semblance.inputs.header import Header, read_header
from semblance.inputs.limits import DEFAULT, Limits, check_bytes, check_pixels, read_file, room_for

__all__ = ["Decoded", "Limits", "decode", "decode_measured", "read_file", "single_threaded"]

_EXPECTED_ARRAY = "expected uint8 [H, W], [H, W, 1] or [H, W, 3] (RGB)"


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture, and the size that it has where it was decoded smaller than that."""

    pixels: NDArray[np.uint8]  # [H, W, C]
    height: int  # of the whole picture as it is seen
    width: int


def decode(
    content: Path | str | bytes | NDArray[np.uint8],
    *,
    channels: int,
    limits: Limits = DEFAULT,
    reduce_to: tuple[int, int] | None = None,
    is_trusted: bool = True,
) -> NDArray[np.uint8]:
    """A picture as [H, W, channels] uint8, 0-255: grey for `channels=1`, RGB for 3.

    An array that already has that form is returned as it is, not copied. `reduce_to` is the height and width the
    picture will be resized to; only with `limits.is_scaled` may a JPEG then come out smaller than it is, by 2, 4 or 8
    and at least `2 * reduce_to`. What is not `is_trusted` is also refused where it would keep a decoder busy with what
    is no pixel (`png.has_surplus`). Raises ImageError for what is no usable picture, InputError for other `channels`.
    """
    return decode_measured(content, channels=channels, limits=limits, reduce_to=reduce_to, is_trusted=is_trusted).pixels


def decode_measured(
    content: Path | str | bytes | NDArray[np.uint8],
    *,
    channels: int,
    limits: Limits = DEFAULT,
    reduce_to: tuple[int, int] | None = None,
    is_trusted: bool = True,
) -> Decoded:
    """`decode`, with the size of the whole picture."""
    if channels not in (1, 3):
        raise InputError(f"channels must be 1 (grey) or 3 (RGB), is {channels!r}")
    if isinstance(content, np.ndarray):
        pixels = _to_channels(_checked_array(content), channels)
        return Decoded(pixels, *pixels.shape[:2])
    if isinstance(content, bytes | bytearray | memoryview):
        encoded, name = bytes(content), f"{len(content)} bytes"
        check_bytes(len(encoded), "a picture in memory", limits)
    elif isinstance(content, Path | str):
        path = content if isinstance(content, Path) else Path(content)  # making one anew takes as long as opening it
        encoded, name = read_file(path, limits), str(content)
    else:
        raise ImageError(f"a picture cannot be a {type(content).__name__}; give a path, encoded bytes or a uint8 array")
    header = read_header(encoded, name)
    num_pixels = check_pixels(header.height, header.width, name, limits, weight=header.weight)
    if not is_trusted and header.format == "PNG" and has_surplus(encoded):
        raise ImageError(f"{name}: damaged: it holds more data than its pixels are; replace or remove it")
    factor = _reduction(header, reduce_to) if limits.is_scaled and reduce_to else 1
    with room_for(num_pixels, limits):
        pixels = _to_channels(_decode_bytes(encoded, header, name, factor, channels), channels)
    if factor == 1:
        return Decoded(pixels, *pixels.shape[:2])
    is_turned = header.orientation >= 5
    height, width = (header.width, header.height) if is_turned else (header.height, header.width)
    return Decoded(pixels, height, width)


# ------------------------------------------------------------------------------------------------------------------
# Stored pixels -> pixels as they are seen

_Pixels = NDArray[np.uint8]
_TURNS: dict[int, Callable[[_Pixels], NDArray[np.generic]]] = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: lambda pixels: cv2.transpose(pixels),
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.flip(cv2.transpose(pixels), -1),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}  # by EXIF's number


def _decode_bytes(encoded: bytes, header: Header, name: str, factor: int, channels: int) -> _Pixels:
    """[H, W] or, as yet, [H, W, 3] RGB, each side divided by `factor` and rounded up."""
    # In one expression: a name for each step would keep its pixels in memory to the end
    opaque = _opaque_rgb(
        _to_8_bits(
            decode_stored(encoded, header, name, factor=factor, is_for_grey=channels == 1),
            (1 << header.bits) - 1,
            name,
        ),
        is_premultiplied=header.alpha == "premultiplied",
    )
    if header.format == "TIFF" or header.orientation not in _TURNS:  # OpenCV turns a TIFF whatever it is told
        return opaque
    return _uint8(_TURNS[header.orientation](opaque))


def _reduction(header: Header, reduce_to: tuple[int, int]) -> int:
    """The largest of 8, 4, 2 and 1 that leaves both sides of a JPEG at least twice those asked for."""
    if header.format != "JPEG" or header.color == "cmyk":
        return 1
    height, width = reduce_to[::-1] if header.orientation >= 5 else reduce_to
    fits = (each for each in (8, 4, 2) if header.height >= 2 * each * height and header.width >= 2 * each * width)
    return next(fits, 1)


def _to_8_bits(pixels: NDArray[np.generic], most: int, name: str) -> _Pixels:
    """Samples of 0 to `most` -> 0 to 255, rounded."""
    if pixels.dtype == np.uint8:
        return _uint8(pixels)
    if pixels.dtype == np.uint16:
        deep = pixels.reshape(*pixels.shape[:2], -1)  # [H, W, C], also of grey
        eight = in_pieces(deep, deep.shape[2], lambda part: (part.astype(np.uint32) * 255 + most // 2) // most)
        return eight.reshape(pixels.shape)
    raise ImageError(f"{name}: its pixels are {pixels.dtype}; expected 8 or 16 bits; convert it to PNG or JPEG first")


def _opaque_rgb(pixels: _Pixels, *, is_premultiplied: bool) -> _Pixels:
    """[H, W], [H, W, 3] RGB or [H, W, 4] RGBA -> [H, W] or [H, W, 3] RGB over white."""
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels
    if pixels[..., 3].min() == 255:
        return _uint8(cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB))
    return in_pieces(pixels, 3, _over_white_premultiplied if is_premultiplied else _over_white)


def _over_white(part: _Pixels) -> NDArray[np.uint16]:
    color, alpha = part[:, :3].astype(np.uint16), part[:, 3:].astype(np.uint16)  # [n, 3], [n, 1]
    return (color * alpha + 255 * (255 - alpha) + 127) // 255


def _over_white_premultiplied(part: _Pixels) -> NDArray[np.uint16]:
    color, alpha = part[:, :3].astype(np.uint16), part[:, 3:].astype(np.uint16)  # [n, 3], [n, 1]
    over: NDArray[np.uint16] = np.minimum(color + (255 - alpha), 255)
    return over


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
