"""A folder of pictures as strangers' folders are: good ones of every kind, and files damaged in every way among them.

In: photographs, an empty folder, how many files, a seed. Out: the files, and what is known of each: that it is good and
how large, that it is surely bad and at which stage that must be found, or that it may be either, as a JPEG with a
flipped bit is. The same seed makes the same files. Pillow makes those kinds that OpenCV cannot; without it they are
left out, and named. What is not random stands in `bench.oddities`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bench import oddities
from bench.oddities import Photo, Verdict

_PART = 256  # bytes that are swapped, doubled, zeroed or lost at once
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Made:
    """One file, and what must become of it."""

    uri: str
    damage: str  # the row of the table it counts for
    verdict: Verdict
    stage: str | None = None  # at which a bad one is refused
    size: tuple[int, int] | None = None  # height and width of a good one, as a viewer shows it


@dataclass(frozen=True, slots=True)
class Folder:
    """What was made, and what could not be."""

    files: list[Made]
    left_out: list[str]  # in words


def make_folder(
    folder: Path, photos: list[Photo], *, num_files: int, seed: int, max_bytes: int, bomb_side: int
) -> Folder:
    """Write at least `num_files` files below `folder`.

    Bombs that are allowed have about `bomb_side` squared pixels, files that are too large more than `max_bytes`.
    """
    rng = np.random.default_rng(seed)
    kinds, left_out = encoders()
    files = [_write(folder, *each) for each in _good(kinds, photos)]
    for odd in oddities.all_of(photos[0], side=bomb_side):
        files.append(_write(folder, odd.uri, odd.content, odd.damage, odd.verdict, odd.size))
    no_files, not_made = oddities.make_no_files(folder, max_bytes=max_bytes)
    files += [Made(uri, damage, verdict, "read") for uri, damage, verdict in no_files]
    wanted = max(0, num_files - len(files))
    for number, (damage, name) in zip(range(wanted), _turns(list(kinds)), strict=False):
        photo = photos[number % len(photos)]
        content, verdict = damaged(kinds[name](photo), name, damage, rng)
        files.append(_write(folder, f"{damage}/{number:04d}-{name}", content, damage.replace("-", " "), verdict))
    return Folder(files, [*left_out, *not_made])


def encoders() -> tuple[dict[str, Callable[[Photo], bytes]], list[str]]:
    """Every kind of picture that can be written here, by a file name; and the others, in words."""
    kinds, left_out = oddities.by_opencv(), []
    if not cv2.haveImageWriter(".avif"):
        left_out.append("AVIF: this OpenCV was built without it")
    try:
        kinds |= oddities.by_pillow()
    except ImportError:
        left_out.append("CMYK, animated and palette pictures: pip install pillow")
    return kinds, left_out


# ------------------------------------------------------------------------------------------------------------------
# Good ones


def _good(
    kinds: dict[str, Callable[[Photo], bytes]], photos: list[Photo]
) -> Iterator[tuple[str, bytes, str, Verdict, tuple[int, int]]]:
    """Each kind as it is, under a wrong name, and with more behind its end; and all orientations."""
    turned = cycle(photos)
    for name, encode in kinds.items():
        photo = next(turned)
        content, size = encode(photo), photo.shape[:2]
        wrong = f"{Path(name).stem}{'.png' if name.endswith('.jpg') else '.JPG'}"
        yield f"good/{name}", content, "none", "good", size
        yield f"wrong name/{Path(name).suffix[1:]}-{wrong}", content, "wrong name", "good", size
        followed = content + b"what a camera left behind \xff\xd9\0"
        yield f"followed/{name}", followed, "more behind its end", "good", size
    oriented = (".jpg", ".png", ".webp", ".tif", *([".avif"] if "several.avif" in kinds else []))
    for orientation in range(1, 9):
        for suffix in oriented:
            photo = next(turned)
            height, width = photo.shape[:2]
            size = (width, height) if orientation >= 5 else (height, width)
            content = oddities.turned(photo, orientation, suffix)
            yield f"turned/{orientation}{suffix}", content, "an orientation", "good", size


def _write(
    folder: Path, uri: str, content: bytes, damage: str, verdict: Verdict, size: tuple[int, int] | None = None
) -> Made:
    (folder / uri).parent.mkdir(parents=True, exist_ok=True)
    (folder / uri).write_bytes(content)
    return Made(uri, damage, verdict, "decode" if verdict == "bad" else None, size)


# ------------------------------------------------------------------------------------------------------------------
# Random damage


def _turns(names: list[str]) -> Iterator[tuple[str, str]]:
    """Damage and kind: every damage in turn, each going round all kinds, so that few files have most pairs."""
    for turn in count():
        for number, damage in enumerate(_DAMAGES):
            yield damage, names[(turn + 7 * number) % len(names)]


def damaged(content: bytes, name: str, damage: str, rng: np.random.Generator) -> tuple[bytes, Verdict]:
    """The file `name` with that damage, and what may become of it."""
    for _ in range(_TRIES):
        harmed = _DAMAGES[damage](content, rng)
        if harmed != content:
            return harmed, _verdict(name, damage)
    return content[: len(content) // 2], "bad"  # all alike inside: two equal blocks exchanged are no damage


def _verdict(name: str, damage: str) -> Verdict:
    """What checks each format has: PNG all of its pixels', the plain ones their length, the others next to none."""
    suffix = name.rpartition(".")[2]
    if damage in ("cut", "wrong-start"):
        return "either" if name.startswith("several") and damage == "cut" else "bad"  # TIFF's other pages come last
    if suffix == "png" and damage != "bits-of-the-header":
        return "bad"
    if damage == "half-of-zeros":
        return "bad" if suffix in ("jpg", "gif") else "either"
    if damage == "lost-block":
        return "bad" if suffix in ("bmp", "pgm", "ppm") or name.startswith("plain") else "either"
    return "either"


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(1, int(len(content) * 0.95)))]


def _half_of_zeros(content: bytes, rng: np.random.Generator) -> bytes:
    """As a download leaves it that had reserved the space and was stopped."""
    end = int(rng.integers(len(content) // 3, len(content) * 2 // 3))
    return content[:end] + bytes(len(content) - end)


def _flipped(content: bytes, places: NDArray[np.int64], rng: np.random.Generator) -> bytes:
    harmed = bytearray(content)
    for place in places:
        harmed[place] ^= 1 << int(rng.integers(8))
    return bytes(harmed)


def _flipped_header(content: bytes, rng: np.random.Generator) -> bytes:
    return _flipped(content, rng.integers(0, min(64, len(content)), rng.integers(1, 5)), rng)


def _flipped_body(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = _body(content)
    return _flipped(content, rng.integers(start, end, rng.integers(1, 5)), rng)


def _body(content: bytes) -> tuple[int, int]:
    """Where pixels are and not much else; of a PNG inside the content of its chunks of pixels."""
    if content.startswith(b"\x89PNG"):
        start = content.index(b"IDAT") + 4
        return start, start + int.from_bytes(content[start - 8 : start - 4], "big")
    return len(content) // 4, len(content) * 3 // 4


def _two_parts(content: bytes, rng: np.random.Generator) -> tuple[int, int, int]:
    """Where two parts of the body begin that do not overlap, and how long both are."""
    start, end = _body(content)
    length = min(_PART, (end - start) // 3)
    first = int(rng.integers(start, end - 2 * length))
    return first, int(rng.integers(first + length, end - length + 1)), length


def _swapped(content: bytes, rng: np.random.Generator) -> bytes:
    a, b, n = _two_parts(content, rng)
    return content[:a] + content[b : b + n] + content[a + n : b] + content[a : a + n] + content[b + n :]


def _doubled(content: bytes, rng: np.random.Generator) -> bytes:
    a, _, n = _two_parts(content, rng)
    return content[: a + n] + content[a:]


def _zeroed(content: bytes, rng: np.random.Generator) -> bytes:
    a, _, n = _two_parts(content, rng)
    return content[:a] + bytes(n) + content[a + n :]


def _lost(content: bytes, rng: np.random.Generator) -> bytes:
    a, _, n = _two_parts(content, rng)
    return content[:a] + content[a + n :]


def _wrong_start(content: bytes, rng: np.random.Generator) -> bytes:
    start = bytes(16) if rng.integers(2) else b"\x01" + rng.bytes(15)
    return start + content[16:]


_DAMAGES: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "cut": _cut,
    "half-of-zeros": _half_of_zeros,
    "bits-of-the-header": _flipped_header,
    "bits-of-the-body": _flipped_body,
    "swapped-blocks": _swapped,
    "doubled-block": _doubled,
    "zeroed-block": _zeroed,
    "lost-block": _lost,
    "wrong-start": _wrong_start,
}
