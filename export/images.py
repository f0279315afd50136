"""The real images that an export is compared on: Fashion-MNIST for small grey inputs, photographs for the others.

In: the size a model eats. Out: uint8 images of exactly that size, and words on what they are, for the card. Where the
photographs are not on this machine, garments stand in for them, and where there is nothing drawn patterns do; the words
say so.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.base import Original
from semblance.errors import SourceError
from semblance.inputs.datasets import fashion_mnist
from semblance.inputs.decode import decode
from semblance.inputs.resize import resize

_PHOTOGRAPHS = Path("caltech101", "caltech101-45.tar")


@dataclass(frozen=True, slots=True)
class ParityImages:
    """Images [N, H, W, C] uint8 of one model's size, and what they are."""

    images: NDArray[np.uint8]
    described: str


def parity_images(original: Original, count: int, *, allow_download: bool = True) -> ParityImages:
    """`count` images for that original, fewer where fewer are at hand."""
    if original.channels == 3 and (archive := find_photographs()) is not None:
        pictures = list(read_photographs(archive, count))
        return ParityImages(_fitted(pictures, original), f"{len(pictures):,} photographs of Caltech101")
    try:
        garments, _ = fashion_mnist("test", allow_download=allow_download)
    except SourceError:
        drawn = _drawn(count, original)
        return ParityImages(drawn, f"{count:,} drawn patterns (no real images on this machine)")
    garments = garments[:count, ..., None]  # [N, 28, 28, 1]
    described = f"{len(garments):,} of the Fashion-MNIST test images"
    if original.channels == 3:
        garments, described = garments.repeat(3, axis=-1), f"{described} (no photographs on this machine)"
    return ParityImages(_fitted(list(garments), original), described)


def find_photographs() -> Path | None:
    """The archive of Caltech101 photographs in SEMBLANCE_DATA or ../shared/data; None where it is in neither."""
    return find_data(_PHOTOGRAPHS)


def find_data(path: Path, *, is_there: Callable[[Path], bool] = Path.is_file) -> Path | None:
    """A file, or what `is_there` says, in SEMBLANCE_DATA or ../shared/data; None where it is in neither."""
    return next((place / path for place in data_folders() if is_there(place / path)), None)


def data_folders() -> list[Path]:
    """Where real data is looked for, first to last."""
    places = [Path("..", "shared", "data").resolve()]
    if named := os.environ.get("SEMBLANCE_DATA"):
        places.insert(0, Path(named).expanduser())
    return places


def read_photographs(archive: Path, count: int) -> Iterator[NDArray[np.uint8]]:
    """`count` photographs [H, W, 3] spread evenly over the archive, so that all classes take part."""
    return (decode(encoded, channels=3) for _, encoded in encoded_photographs(archive, count))


def encoded_photographs(archive: Path, count: int) -> Iterator[tuple[str, bytes]]:
    """The same as they lie in the archive: name, class folder and all, and the bytes of the JPEG file."""
    with tarfile.open(archive) as tar:
        members = sorted((each for each in tar if each.isfile() and each.name.endswith(".jpg")), key=lambda m: m.name)
        chosen = np.linspace(0, len(members), min(count, len(members)), endpoint=False).astype(int)
        for index in chosen:
            file = tar.extractfile(members[index])
            assert file is not None  # only files were listed
            yield members[index].name, file.read()


def _fitted(pictures: list[NDArray[np.uint8]], original: Original) -> NDArray[np.uint8]:
    size = (original.height, original.width, original.channels)
    fitted = np.empty((len(pictures), *size), np.uint8)  # [N, H, W, C]
    for row, picture in enumerate(pictures):
        sized = resize(
            picture, height=original.height, width=original.width, resize=original.resize, crop=original.crop
        )
        fitted[row] = sized.reshape(size)
    return fitted


def _drawn(count: int, original: Original) -> NDArray[np.uint8]:
    """Waves of random direction, length and colour, with a little noise: no two alike, and not flat."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0 : 1 : original.height * 1j, 0 : 1 : original.width * 1j]
    images = np.empty((count, original.height, original.width, original.channels), np.uint8)
    for image in images:
        for channel in range(original.channels):
            down, across, phase = rng.uniform(-30, 30, 2), rng.uniform(-30, 30, 2), rng.uniform(0, 6, 2)
            waves = sum(np.sin(d * rows + a * columns + p) for d, a, p in zip(down, across, phase, strict=True))
            image[..., channel] = np.clip(127.5 + 50 * waves + rng.normal(0, 8, rows.shape), 0, 255)
    return images
