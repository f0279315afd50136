"""Pictures that are arrays already: in memory, in a npy file, or in the idx files of MNIST and its kin.

In: an array [N, H, W] or [N, H, W, C] of uint8, or the file that holds one. Out: its pictures as `Item`s in their own
order, named by file and row. Whatever would make a picture of another kind is refused when the source is made, so
that nothing is guessed at halfway.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance.errors import InputError, SourceError
from semblance.inputs.idx import read_idx
from semblance.inputs.items import Item
from semblance.inputs.names import place_of


class ArraySource:
    """The pictures of one array, uint8 [N, H, W] grey or [N, H, W, C] with C = 1 or 3 (RGB), in its order.

    Their uris are "NAME#000000" and on. Raises InputError for another array, or for a number of labels other than N.
    """

    def __init__(
        self, images: NDArray[np.uint8], *, labels: Sequence[object] | None = None, name: str = "array"
    ) -> None:
        if problem := _array_problem(images):
            raise InputError(f"{name}: {problem}")
        if labels is not None and len(labels) != len(images):
            raise InputError(f"{name}: {len(labels)} labels for {len(images)} pictures; give one for each, or none")
        self.name = name
        self._images = images
        self._labels = labels
        self._uri_prefix = name

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Item]:
        digits = max(6, len(str(len(self._images) - 1)))  # as many for all, so that names sort as numbers do
        for row, image in enumerate(self._images):
            label = None if self._labels is None or self._labels[row] is None else str(self._labels[row])
            yield Item(f"{self._uri_prefix}#{row:0{digits}d}", np.asarray(image), label)


class IdxSource(ArraySource):
    """An idx or idx.gz file of pictures, labelled by the file beside it that has the standard name for labels.

    A label is the name it has in `classes`, else its number. Uris are the file's name without .gz and the row.
    Raises SourceError: missing, damaged, not pictures, or labels that do not fit them.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, classes: Sequence[str] | None = None, name: str | None = None
    ) -> None:
        path = Path(path)
        images = _as_source(path, read_idx(path), "the file of pictures, images-idx3")
        super().__init__(images, labels=_labels_beside(path, len(images), classes), name=name or place_of(path))
        self._uri_prefix = path.name.removesuffix(".gz")


class NpySource(ArraySource):
    """A .npy file of pictures, read from disk as they are asked for; uris are the file's name and the row.

    Raises SourceError: missing, damaged, with pickled objects, or not uint8 [N, H, W] or [N, H, W, C].
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        try:
            images = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise SourceError(f"{path}: cannot be read ({error}); expected a .npy file without objects") from error
        super().__init__(_as_source(path, images, "np.save(FILE, images)"), name=place_of(path))
        self._uri_prefix = path.name


def _array_problem(images: object) -> str:
    """What keeps `images` from being a batch of pictures, or ""."""
    if not isinstance(images, np.ndarray):
        return f"a {type(images).__name__}; expected an array of uint8 [N, H, W] or [N, H, W, C], C = 1 or 3"
    is_shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))
    if images.dtype != np.uint8 or not is_shaped or 0 in images.shape[1:]:
        return (
            f"an array of {images.dtype} {list(images.shape)}; expected uint8 [N, H, W] or [N, H, W, C], C = 1 or 3, "
            "with values 0-255"
        )
    return ""


def _as_source(path: Path, images: NDArray[np.uint8], wanted: str) -> NDArray[np.uint8]:
    if problem := _array_problem(images):
        raise SourceError(f"{path}: {problem}; give {wanted}")
    return images


def _labels_beside(path: Path, num_images: int, classes: Sequence[str] | None) -> list[str] | None:
    name = path.name.replace("images-idx3", "labels-idx1").removesuffix(".gz")
    beside = [found for found in (path.with_name(name), path.with_name(f"{name}.gz")) if found.is_file()]
    if "images-idx3" not in path.name or not beside:
        return None
    numbers = read_idx(beside[0])
    if numbers.shape != (num_images,):
        raise SourceError(f"{beside[0]}: labels of shape {list(numbers.shape)} for {num_images} pictures in {path}")
    if classes is None:
        return [str(number) for number in numbers.tolist()]
    if num_images and numbers.max() >= len(classes):
        raise SourceError(f"{beside[0]}: label {numbers.max()}, there are {len(classes)} classes; it is damaged")
    return [classes[number] for number in numbers.tolist()]
