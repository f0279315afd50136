"""Where pictures come from: a folder, files, an idx file, a npy file or an array, as one stream of items.

In: a place. Out: `Item`s in a sorted order that is the same on every machine, not yet decoded, so that decoding can
be spread over threads and a failure there concerns one item only. What is wrong with the place itself is said when
the source is opened, not halfway through it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from semblance.errors import InputError, SourceError
from semblance.inputs.idx import read_idx

Content = Path | bytes | NDArray[np.uint8]  # a file to read, an encoded picture, or pixels [H, W] or [H, W, C]
Column = str | int | float | bool | None

IMAGE_SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a source, not yet decoded."""

    uri: str  # its stable name within the source, and the sort key
    content: Content
    label: str | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)  # carried along into the gallery


class Source(Protocol):
    """A sized, repeatable stream of items in sorted order."""

    @property
    def name(self) -> str:
        """What it is: for people, and where it can be for `open_source`, from any working directory."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Item]: ...


# ------------------------------------------------------------------------------------------------------------------
# Files


class FolderSource:
    """Every image file under a folder, by its path from there; its label is the name of the folder it lies in.

    Hidden files and folders are left out, and linked folders are not entered, since they may lead round in a circle.
    Raises SourceError: no such folder, one that cannot be read, or none with images.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.root = Path(path)
        if not self.root.is_dir():
            raise SourceError(f"{self.root}: {_what_is_there(self.root)}; expected a folder of images")
        self._paths = sorted(self._find(), key=lambda found: found[0])
        if not self._paths:
            raise SourceError(
                f"{self.root}: a folder without images; expected files ending in {' '.join(IMAGE_SUFFIXES)}, "
                "in it or in folders below, and not hidden"
            )

    @property
    def name(self) -> str:
        return str(self.root.absolute())

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Item]:
        for uri, path in self._paths:
            yield Item(uri, Path(path), PurePosixPath(uri).parent.name or None)

    def _find(self) -> Iterator[tuple[str, str]]:
        for folder, folders, files in os.walk(self.root, onerror=_cannot_list):
            folders[:] = [name for name in folders if not name.startswith(".")]
            below = Path(folder).relative_to(self.root)
            for name in files:
                if not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES):
                    yield _uri_of(below / name), os.path.join(folder, name)


class FileSource:
    """The given files, sorted by path; each is read, and may fail, only when its turn comes.

    Raises InputError where a path is given twice.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]], *, name: str = "files") -> None:
        self.name = name
        self._paths = sorted((_uri_of(Path(path)), Path(path)) for path in paths)
        for (uri, _), (following, _) in zip(self._paths, self._paths[1:], strict=False):
            if uri == following:
                raise InputError(f"{uri} is given twice; each picture of a source needs a path of its own")

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Item]:
        for uri, path in self._paths:
            yield Item(uri, path)


def _uri_of(path: Path) -> str:
    """With slashes on every system, and valid Unicode even where a file name is not."""
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _cannot_list(error: OSError) -> None:
    raise SourceError(f"{error.filename}: cannot be listed ({error.strerror}); make it readable or move it away")


# ------------------------------------------------------------------------------------------------------------------
# Arrays


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
        super().__init__(images, labels=_labels_beside(path, len(images), classes), name=name or str(path.absolute()))
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
        super().__init__(_as_source(path, images, "np.save(FILE, images)"), name=str(path.absolute()))
        self._uri_prefix = path.name


class JoinedSource:
    """Several sources as one, in the order given, which must keep their uris sorted."""

    def __init__(self, parts: Sequence[Source], *, name: str) -> None:
        self.name = name
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Item]:
        for part in self._parts:
            yield from part


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


# ------------------------------------------------------------------------------------------------------------------
# By name


_IDX_SUFFIXES = (".gz", ".idx", "-ubyte")
_ACCEPTED = (
    "a folder of images, an image file, an idx file (.idx, .gz, -ubyte), a .npy file, or one of "
    "fashion-mnist, fashion-mnist:train, fashion-mnist:test, drawn-fashion:train, drawn-fashion:test"
)


def open_source(spec: str | os.PathLike[str]) -> Source:
    """The source that `spec` names: a folder, an idx, npy or image file, or a data set.

    The data sets are "fashion-mnist[:train|:test]", and "drawn-fashion:train|test[:NUMBER]", which stands in for it
    offline.

    A folder that is itself called fashion-mnist is named by ./fashion-mnist, or by a Path.
    Raises SourceError for a place that is missing, of no known kind, empty or damaged.
    """
    if isinstance(spec, str) and spec.partition(":")[0] == "fashion-mnist":
        return _fashion_mnist(spec)
    if isinstance(spec, str) and spec.partition(":")[0] == "drawn-fashion":
        return _drawn_fashion(spec)
    if not os.fspath(spec):
        raise SourceError(f"the source is an empty name; expected {_ACCEPTED}")  # Path("") would be the current folder
    path = Path(spec)
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise SourceError(f"{spec}: {_what_is_there(path)}; expected {_ACCEPTED}")
    name = path.name.lower()
    if name.endswith(".npy"):
        return NpySource(path)
    if name.endswith(_IDX_SUFFIXES):
        return IdxSource(path)
    if name.endswith(IMAGE_SUFFIXES):
        return FileSource([path.absolute()], name=str(path.absolute()))
    raise SourceError(f"{spec}: a file of no known kind; expected {_ACCEPTED}")


def _fashion_mnist(spec: str) -> Source:
    from semblance.inputs.datasets import CLASSES, find_fashion_mnist

    prefixes = {"fashion-mnist:train": "train", "fashion-mnist:test": "t10k"}
    if spec != "fashion-mnist" and spec not in prefixes:
        raise SourceError(f"{spec}: no such part of Fashion-MNIST; expected fashion-mnist, {', '.join(prefixes)}")
    folder = find_fashion_mnist()
    splits = {
        name: IdxSource(folder / f"{prefix}-images-idx3-ubyte.gz", classes=CLASSES, name=name)
        for name, prefix in prefixes.items()
        if spec in ("fashion-mnist", name)
    }
    if spec in splits:
        return splits[spec]
    return JoinedSource([splits["fashion-mnist:test"], splits["fashion-mnist:train"]], name=spec)  # "t10k" < "train"


def _drawn_fashion(spec: str) -> Source:
    from semblance.inputs.datasets import CLASSES
    from semblance.inputs.standin import drawn_fashion

    splits: dict[str, Literal["train", "test"]] = {"train": "train", "test": "test"}
    _, _, part = spec.partition(":")
    split, _, number = part.partition(":")
    if split not in splits or (number and not number.isdecimal()):
        raise SourceError(f"{spec}: no such part of the drawn stand-in; expected drawn-fashion:train or :test[:NUMBER]")
    images, labels = drawn_fashion(splits[split], num_images=int(number) if number else None)
    return ArraySource(images, labels=[CLASSES[label] for label in labels], name=spec)


def _what_is_there(path: Path) -> str:
    return "not a folder" if path.is_file() else "there is nothing there"
