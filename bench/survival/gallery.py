"""A gallery that has everything a gallery can have, and everything that can be asked of one.

In: pictures, or a gallery's folder. Out: a finished gallery, the folder's bytes, or its answers as plain values that
can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.survival.pictures import Encoded, write_folder, write_list
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.near_duplicates import near_duplicates
from semblance.gallery.shards import Row
from semblance.gallery.writer import GalleryWriter
from semblance.inference.encoder import Encoder
from semblance.local.sift import SiftOptions
from semblance.search import Gallery

SHARD_ROWS = 16  # small ones, so that there are several commits
MAX_KEYPOINTS = 40  # of a picture, in a gallery with SIFT

Tree = dict[str, bytes | None]  # None: a folder
Queries = NDArray[np.float32]


def make_gallery(folder: Path, pictures: Sequence[Encoded], *, has_sift: bool = False) -> Path:
    """Two sources, errors, removed rows, an index that covers removed ones and lacks younger ones; with SIFT or not."""
    path = folder / "gallery"
    first, second = write_list(folder / "first", pictures[0::2]), write_folder(folder / "second", pictures[1::2])
    gallery = Gallery.build(
        first,
        Encoder.load("siamese"),
        path,
        shard_rows=SHARD_ROWS,
        deterministic=True,
        sift=SiftOptions(max_keypoints=MAX_KEYPOINTS) if has_sift else None,
    )
    gallery.add(second)
    gallery.remove(where="key % 7 = 1")
    vectors = gallery.vectors.vectors[:3] + np.float32(1e-4)
    with GalleryWriter.open(path) as writer:
        keys = range(writer.manifest.next_key, writer.manifest.next_key + len(vectors))
        writer.upsert([Row(key, f"own-{key}", "0" * 64, 8, 8, "own", {"number": key}) for key in keys], vectors)
    return path


def tree(folder: Path) -> Tree:
    """All that is in `folder`, by its path from there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def differences(found: Tree, expected: Tree) -> list[str]:
    """What is not the same, a line for each file."""
    return [
        *(f"{name} is missing" for name in expected if name not in found),
        *(f"{name} is left over" for name in found if name not in expected),
        *(f"{name} has other bytes" for name in expected if name in found and found[name] != expected[name]),
    ]


def _search(path: Path, queries: Queries, **options: Any) -> Any:
    found = VectorGallery.open(path).search(queries, k=7, **options)
    return [each.tolist() for each in (found.keys, found.distances, found.counts)]


def _by_key(path: Path, queries: Queries) -> Any:
    gallery = VectorGallery.open(path)
    return gallery.vectors_of(gallery.keys[::5]).tolist()


def _keypoints(path: Path, queries: Queries) -> Any:
    gallery = VectorGallery.open(path)
    if gallery.keypoints is None:
        return None
    found = gallery.keypoints.keypoints(np.arange(len(gallery.all_rows)))
    return [np.asarray(getattr(found, name)).tobytes() for name in found.__dataclass_fields__]


def _duplicates(path: Path, queries: Queries) -> Any:
    found = near_duplicates(VectorGallery.open(path), 0.01)
    return {name: np.asarray(getattr(found, name)).tolist() for name in found.__dataclass_fields__}


def _writer(path: Path, queries: Queries) -> Any:
    with GalleryWriter.open(path) as writer:
        return [writer.manifest.to_json(), writer.alive_keys().tolist(), writer.errors.to_pylist()]


# Each opens the gallery anew, since what one has checked the next would not. The writer comes last: it tidies.
ASKED: dict[str, Callable[[Path, Queries], Any]] = {
    "open": lambda path, queries: len(VectorGallery.open(path)),
    "exact search": lambda path, queries: _search(path, queries, exact=True),
    "index search": lambda path, queries: _search(path, queries),
    "search where": lambda path, queries: _search(path, queries, where="width > 20 AND label <> 'own'"),
    "matching": lambda path, queries: VectorGallery.open(path).matching("number % 3 = 1 AND weight > 0.5").tolist(),
    "by key": _by_key,
    "uris": lambda path, queries: VectorGallery.open(path).uris,
    "labels": lambda path, queries: VectorGallery.open(path).labels,
    "duplicates": _duplicates,
    "keypoints": _keypoints,
    "writer": _writer,
}
