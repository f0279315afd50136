"""Colour, CMYK and transparency as decode's table has them, against Pillow or pixels worked out by hand."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from semblance.errors import ImageError
from semblance.inputs.decode import Limits, decode
from tests.semblance.inputs.damaged import png, tiff
from tests.semblance.inputs.pictures import (
    ALPHA,
    COLOR,
    GREY,
    HAS_AVIF,
    RGBA,
    Image,
    assert_close,
    cmyk_picture,
    encode,
    opened,
    over_white,
    packed_rows,
    smooth,
    without_adobe,
)

# --- colour


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "BMP", "GIF", "PPM", "AVIF", "WEBP"])
def test_colours_are_rgb_and_grey_is_repeated(form: str) -> None:
    if form == "AVIF" and not HAS_AVIF:
        pytest.skip("this OpenCV was built without AVIF")
    content = encode(COLOR.quantize(64) if form == "GIF" else COLOR, form)
    expected = np.asarray(opened(content).convert("RGB"))
    np.testing.assert_array_equal(decode(content, channels=3), expected)
    if form != "JPEG":  # which has a grey of its own
        luma = np.rint(expected @ np.array([0.299, 0.587, 0.114]))
        assert_close(decode(content, channels=1)[..., 0], luma, most=1)  # in fixed point
    content = encode(GREY, form)
    expected = np.asarray(opened(content).convert("RGB"))
    np.testing.assert_array_equal(decode(content, channels=3), expected)
    if form != "WEBP":  # which has no grey: it comes back with a little colour
        assert_close(decode(content, channels=1)[..., 0], expected[..., 0])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_colour_profiles_are_not_applied(form: str) -> None:
    plain = encode(COLOR, form)
    profile = _swapping_profile()
    with_profile = encode(COLOR, form, icc_profile=profile)
    assert profile[-40:] in with_profile or form == "PNG"
    np.testing.assert_array_equal(decode(with_profile, channels=3), decode(plain, channels=3))


def test_a_gamma_chunk_is_not_applied() -> None:
    rows = b"".join(b"\0" + bytes(range(start, start + 8)) for start in (0, 60, 120))
    content = png(8, 3, 8, 0, zlib.compress(rows), gAMA=struct.pack(">I", 100_000))
    expected = np.add.outer([0, 60, 120], np.arange(8))
    np.testing.assert_array_equal(decode(content, channels=1)[..., 0], expected)


def _swapping_profile() -> bytes:
    """sRGB's profile with green's and blue's primaries exchanged, so that who applies it shows another picture."""
    image_cms = pytest.importorskip("PIL.ImageCms")
    profile: bytes = image_cms.ImageCmsProfile(image_cms.createProfile("sRGB")).tobytes()
    return profile.replace(b"gXYZ", b"tXYZ").replace(b"bXYZ", b"gXYZ").replace(b"tXYZ", b"bXYZ")


# --- grey of a JPEG


def _vivid() -> Any:
    """Blots of full colours, whose edges JPEG cannot keep without leaving RGB's range."""
    return Image.fromarray((smooth() > 127).astype(np.uint8) * 255)


def _renamed(jpeg: bytes, names: bytes) -> bytes:
    """The JPEG with other names for its components, in its frame and in its only scan."""
    content = bytearray(jpeg)
    frame, scan = content.index(b"\xff\xc0"), content.index(b"\xff\xda")
    content[frame + 10 : frame + 19 : 3] = content[scan + 5 : scan + 11 : 2] = names
    return bytes(content)


def _without_jfif(jpeg: bytes) -> bytes:
    assert jpeg[2:4] == b"\xff\xe0"
    return jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6], "big") :]


def _with_adobe(jpeg: bytes, transform: int) -> bytes:
    return jpeg[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform]) + jpeg[2:]


def _with_luminance() -> Iterator[tuple[str, bytes]]:
    plain = encode(_vivid(), "JPEG", quality=60)
    bare = _without_jfif(plain)
    yield "plain", plain
    yield "4:4:4", encode(_vivid(), "JPEG", quality=60, subsampling=0)
    yield "progressive", encode(_vivid(), "JPEG", quality=60, progressive=True)
    yield "JFIF outweighs Adobe's marker", _with_adobe(plain, 0)
    yield "JFIF outweighs names", _renamed(plain, b"RGB")
    yield "no marker", bare
    yield "Adobe's marker", _with_adobe(bare, 1)
    yield "Adobe's marker outweighs names", _with_adobe(_renamed(bare, b"RGB"), 1)
    yield "Adobe's marker, too short", bare[:2] + b"\xff\xee\0\x0dAdobe\0\x64\0\0\0\0" + bare[2:]


@pytest.mark.parametrize(("kind", "content"), [pytest.param(*each, id=each[0]) for each in _with_luminance()])
def test_grey_of_a_jpeg_is_its_own_luminance(kind: str, content: bytes) -> None:
    found = decode(content, channels=1)
    image = Image.open(io.BytesIO(content))
    image.draft("L", image.size)  # Pillow asks libjpeg for the luminance
    assert image.mode == "L"
    np.testing.assert_array_equal(found[..., 0], np.asarray(image))
    stored = np.frombuffer(content, np.uint8)
    np.testing.assert_array_equal(found[..., 0], cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE))
    of_rgb = decode(decode(content, channels=3), channels=1)
    assert np.abs(found.astype(int) - of_rgb).max() > 5


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_grey_of_a_jpeg_at_a_part_of_its_size_is_its_luminance_too(factor: int) -> None:
    content = encode(_vivid().resize((403, 301)), "JPEG")
    smaller = (301 // factor // 2, 403 // factor // 2)
    found = decode(content, channels=1, limits=Limits(is_scaled=True), reduce_to=smaller)
    flag = {2: cv2.IMREAD_REDUCED_GRAYSCALE_2, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 8: cv2.IMREAD_REDUCED_GRAYSCALE_8}
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), flag[factor])
    assert expected is not None
    assert expected.shape == (-(-301 // factor), -(-403 // factor))
    np.testing.assert_array_equal(found[..., 0], expected)


def _without_luminance() -> Iterator[tuple[str, bytes]]:
    rgb = encode(_vivid(), "JPEG", quality=60, keep_rgb=True)  # with Adobe's marker, without JFIF
    yield "RGB by Adobe's marker", rgb
    yield "RGB by Adobe's marker, whatever the names", _renamed(rgb, b"\1\2\3")
    yield "RGB by names", without_adobe(_renamed(rgb, b"RGB"))
    cmyk = encode(cmyk_picture(), "JPEG")
    yield "CMYK", cmyk
    yield "CMYK without marker", without_adobe(cmyk)
    ycck = bytearray(cmyk)
    ycck[ycck.index(b"Adobe") + 11] = 2
    yield "YCCK", bytes(ycck)


@pytest.mark.parametrize(("kind", "content"), [pytest.param(*each, id=each[0]) for each in _without_luminance()])
def test_grey_of_a_jpeg_without_luminance_is_that_of_its_rgb(kind: str, content: bytes) -> None:
    rgb = decode(content, channels=3)
    np.testing.assert_array_equal(decode(content, channels=1), decode(rgb, channels=1))
    if kind.startswith("RGB"):  # and not of components that were taken for something else
        assert_close(rgb, np.asarray(opened(content).convert("RGB")))


# --- CMYK


def test_cmyk_with_adobes_marker_is_stored_inverted() -> None:
    content = encode(cmyk_picture(), "JPEG", quality=95)
    assert b"Adobe" in content
    cmyk = np.asarray(opened(content)).astype(int)  # Pillow has undone the inversion
    assert_close(decode(content, channels=3), np.rint((255 - cmyk[..., :3]) * (255 - cmyk[..., 3:]) / 255), most=2)
    assert_close(decode(content, channels=3), np.asarray(opened(content).convert("RGB")), most=2)


def test_cmyk_without_adobes_marker_is_stored_as_it_is() -> None:
    content = without_adobe(encode(cmyk_picture(), "JPEG", quality=95))
    stored = 255 - np.asarray(opened(content)).astype(int)  # which Pillow inverts for no reason
    expected = np.rint((255 - stored[..., :3]) * (255 - stored[..., 3:]) / 255)
    np.testing.assert_array_equal(decode(content, channels=3), expected)


def test_pillow_says_nothing_on_stderr(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It warns of EXIF that is damaged; and of many pixels, or refuses them, though ours are counted before."""
    content = without_adobe(encode(cmyk_picture(), "JPEG"))
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 282, 5, 2**31, 2**31)
    content = content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    for most in (COLOR.width * COLOR.height - 1, 100):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        decode(content, channels=3)
    assert capfd.readouterr().err == ""
    assert list(recwarn) == []


def test_ycck_is_turned_into_cmyk_first() -> None:
    content = bytearray(encode(cmyk_picture(), "JPEG", quality=95))
    content[content.index(b"Adobe") + 11] = 2  # the transform: YCCK
    cmyk = np.asarray(opened(bytes(content))).astype(int)
    expected = np.rint((255 - cmyk[..., :3]) * (255 - cmyk[..., 3:]) / 255)
    assert_close(decode(bytes(content), channels=3), expected, most=2)


def test_cmyk_of_a_tiff() -> None:
    cmyk = np.asarray(cmyk_picture()).astype(int)
    content = encode(cmyk_picture(), "TIFF")
    assert_close(decode(content, channels=3), (255 - cmyk[..., :3]) * (255 - cmyk[..., 3:]) / 255, most=1)


# --- transparency


def _transparent() -> Iterator[tuple[str, bytes]]:
    palette = COLOR.quantize(30)
    yield "RGBA PNG", encode(RGBA, "PNG")
    yield "LA PNG", encode(Image.merge("LA", [GREY, ALPHA]), "PNG")
    yield "palette PNG, one colour", encode(palette, "PNG", transparency=3)
    yield "palette PNG, all colours", encode(palette, "PNG", transparency=bytes(range(0, 240, 8)))
    yield "palette PNG of 2 bits", encode(COLOR.quantize(4), "PNG", transparency=bytes([0, 90, 255]))
    yield "grey PNG", encode(GREY, "PNG", transparency=int(np.asarray(GREY)[5, 5]))
    yield "RGB PNG", encode(COLOR, "PNG", transparency=COLOR.getpixel((7, 5)))
    yield "lossless WebP", encode(RGBA, "WEBP", lossless=True, exact=True)
    yield "lossy WebP", encode(RGBA, "WEBP")
    yield "GIF", encode(palette, "GIF", transparency=5)
    yield "RGBA TIFF", encode(RGBA, "TIFF")
    if HAS_AVIF:
        yield "AVIF", encode(RGBA, "AVIF", quality=100)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # which is what is asked of Pillow here
@pytest.mark.parametrize(("kind", "content"), [pytest.param(*each, id=each[0]) for each in _transparent()])
def test_transparency_is_laid_over_white_in_every_format_that_has_it(kind: str, content: bytes) -> None:
    image = opened(content)
    expected = over_white(image)
    assert not np.array_equal(expected, np.asarray(image.convert("RGB")))  # or nothing would be tested
    assert_close(decode(content, channels=3), expected, most=1 if kind == "RGBA TIFF" else 0)
    luma = np.rint(expected @ np.array([0.299, 0.587, 0.114]))
    assert_close(decode(content, channels=1)[..., 0], luma, most=2 if kind == "RGBA TIFF" else 1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_white_and_no_other_is(bits: int) -> None:
    top = (1 << bits) - 1
    samples = np.arange(min(1 << bits, 256), dtype=int)[None] * (257 if bits == 16 else 1)  # [1, W]
    transparent = int(samples[0, len(samples[0]) // 2])
    content = png(samples.shape[1], 1, bits, 0, packed_rows(samples, bits), tRNS=struct.pack(">H", transparent))
    expected = np.where(samples == transparent, 255, (samples * 255 + top // 2) // top)
    np.testing.assert_array_equal(decode(content, channels=1)[..., 0], expected)


def test_a_transparent_colour_of_16_bits_is_white() -> None:
    samples = np.array([[[1, 2, 3], [1, 2, 4], [257 * 9, 257 * 8, 257 * 7]]])  # [1, 3, 3]
    content = png(3, 1, 16, 2, packed_rows(samples.reshape(1, -1), 16), tRNS=struct.pack(">HHH", 1, 2, 3))
    expected = [[[255, 255, 255], [0, 0, 0], [9, 8, 7]]]
    np.testing.assert_array_equal(decode(content, channels=3), expected)


def test_alpha_of_a_bmp_counts_where_its_header_has_a_mask() -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [10, 20, 30, 128]]], np.uint8)  # [1, 3, 4] BGRA
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    fields = struct.pack("<iiHHIIiiII", 3, 1, 1, 32, 3, pixels.size, 0, 0, 0, 0)
    v4 = struct.pack("<I", 108) + fields + masks + b"BGRs" + bytes(48)
    content = b"BM" + struct.pack("<IHHI", 14 + 108 + pixels.size, 0, 0, 14 + 108) + v4 + pixels.tobytes()
    np.testing.assert_array_equal(decode(content, channels=3), over_white(opened(content)))
    fields = struct.pack("<iiHHIIiiII", 3, 1, 1, 32, 0, pixels.size, 0, 0, 0, 0)
    content = b"BM" + struct.pack("<IHHI", 54 + pixels.size, 0, 0, 54) + struct.pack("<I", 40) + fields
    np.testing.assert_array_equal(decode(content + pixels.tobytes(), channels=3), pixels[..., 2::-1])


@pytest.mark.parametrize("extra", [1, 2])
def test_alpha_of_a_tiff_of_16_bits(extra: int) -> None:
    alpha = np.array([0, 20000, 65535])
    color = np.array([60000, 30000, 100])
    rgb = np.tile(color, (3, 1))  # [3, 3]: one colour under each alpha
    stored = rgb * alpha[:, None] // 65535 if extra == 1 else rgb
    samples = np.concatenate([stored, alpha[:, None]], axis=1).astype("<u2")  # [3, 4]
    content = tiff(3, 1, samples.tobytes(), samples=4, bits=[16] * 4, color=2, tag338=extra)
    expected = np.rint((rgb * (alpha[:, None] / 65535) + 65535 * (1 - alpha[:, None] / 65535)) / 257)
    assert_close(decode(content, channels=3)[0], expected, most=1)  # colour and alpha are rounded before they are mixed


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"samples": 2, "color": 1, "tag338": 2}, "alpha with other than RGB"), ({"tag339": 2}, "signed or floating")],
)
def test_a_tiff_that_opencv_would_show_wrongly_is_refused(fields: dict[str, int], reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(tiff(4, 4, bytes(32), **fields), channels=3)  # type: ignore[arg-type]
