"""A small real encoder and a small real gallery: no weights, no runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.card import ModelCard
from semblance.gallery.build import build
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.keypoints import Extractor
from semblance.gallery.stored_keypoints import PictureKeypoints
from semblance.inputs.sources import ArraySource, Item

CARD = ModelCard(
    name="blocks", height=8, width=8, channels=1, dimension=16, metric="cos", unit_length=False,
    architecture="block-means", layer="mean", pooling="flatten", preprocess="none", weights_sha256="0" * 64,
)  # fmt: skip


@dataclass
class BlockMeans:
    """Means of 2x2 blocks of an 8x8 picture: 16 numbers, a zero vector for a black picture."""

    card: ModelCard = CARD
    max_batch: int = 32
    backend: str = "cpu"
    streams: int = 1
    sizes: list[int] = field(default_factory=list)  # of the batches it was given

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (8, 8, 1)
        self.sizes.append(len(images))
        blocks = images.reshape(-1, 4, 2, 4, 2).astype(np.float32)
        return blocks.mean(axis=(2, 4)).reshape(-1, 16)

    def release_memory(self) -> None: ...


@dataclass
class Items:
    """A source made of a list."""

    items: list[Item]
    name: str = "a list"

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self):
        return iter(self.items)


def pictures(num: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(1, 256, (num, 8, 8), dtype=np.uint8)


MANY = 300  # keypoints of a picture whose first pixel is 255


def described(image: NDArray[np.uint8]) -> PictureKeypoints:
    """Keypoints that stand for a picture's: none, one, two or many, by its first pixel, and drawn from all of them."""
    first = int(image.reshape(-1)[0])
    num = MANY if first == 255 else first % 4
    rng = np.random.default_rng(np.ascontiguousarray(image).reshape(-1))
    points, other = rng.random((num, 2), np.float32), rng.random((3, num), np.float32)
    return PictureKeypoints(points, *other, rng.integers(0, 256, (num, 128), dtype=np.uint8))


def with_keypoints(max_keypoints: int = MANY) -> Extractor:
    return Extractor(described, {"max_keypoints": max_keypoints, "contrast_threshold": 0.04})


def joined(found: Sequence[PictureKeypoints]) -> list[NDArray[np.generic]]:
    """All arrays of several pictures, one after the other."""
    names = ("points", "sizes", "angles", "responses", "descriptors")
    return [np.concatenate([getattr(each, name) for each in found]) for name in names]


@pytest.fixture
def extractor() -> Extractor:
    return with_keypoints()


@pytest.fixture
def sift_path(tmp_path: Path) -> Path:
    """The same 300 pictures in shards of 100, with keypoints; one of them has many."""
    images = pictures(300)
    images[150, 0, 0] = 255
    build(
        ArraySource(images, name="squares"), BlockMeans(), tmp_path / "s", shard_rows=100, extractor=with_keypoints()
    )  # fmt: skip
    return tmp_path / "s"


@pytest.fixture
def encoder() -> BlockMeans:
    return BlockMeans()


@pytest.fixture
def euclidean() -> BlockMeans:
    return BlockMeans(card=replace(CARD, metric="l2sq"))


@pytest.fixture
def make_items() -> Callable[[list[Item]], Items]:
    return Items


@pytest.fixture
def make_pictures() -> Callable[..., NDArray[np.uint8]]:
    return pictures


@pytest.fixture
def gallery_path(tmp_path: Path) -> Path:
    """300 pictures in shards of 100, every third without a label."""
    labels = [None if i % 3 == 0 else f"class {i % 5}" for i in range(300)]
    build(ArraySource(pictures(300), labels=labels, name="squares"), BlockMeans(), tmp_path / "g", shard_rows=100)
    return tmp_path / "g"


@pytest.fixture
def gallery(gallery_path: Path) -> VectorGallery:
    return VectorGallery.open(gallery_path)
