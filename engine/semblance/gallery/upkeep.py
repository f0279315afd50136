"""Changes to a whole gallery beside embedding: pictures removed, shards written anew, the index built anew.

In: a gallery's folder. Out: the same folder after one more commit. None of these needs a model. Removing marks rows
only, so it is quick at any size; compacting gives their space back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance.gallery.gallery import VectorGallery
from semblance.gallery.manifest import Manifest
from semblance.gallery.rows import as_keys
from semblance.gallery.writer import GalleryWriter


@dataclass(frozen=True, slots=True)
class Compacted:
    """What compacting a gallery changed."""

    num_images: int
    num_dropped: int  # rows that no longer counted
    bytes_before: int
    bytes_after: int


def choose(
    gallery: VectorGallery,
    keys: Sequence[int] | NDArray[np.int64] = (),
    *,
    uris: Sequence[str] = (),
    where: str | None = None,
) -> NDArray[np.int64]:
    """The keys [n] int64, in the order of the rows, of the pictures that a key, a uri or the condition `where` names.

    Keys and uris that are not in the gallery name nothing; a uri that two sources share names both pictures. Raises
    InputError for a key that is no integer of 64 bits and for a `where` that is no condition.
    """
    chosen = np.isin(gallery.keys, as_keys(keys))
    if uris:
        wanted = set(uris)
        chosen |= np.array([uri in wanted for uri in gallery.uris], np.bool_)
    if where is not None:
        chosen |= gallery.matching(where)
    return gallery.keys[chosen]


def remove(
    path: Path,
    keys: Sequence[int] | NDArray[np.int64] = (),
    *,
    uris: Sequence[str] = (),
    where: str | None = None,
) -> int:
    """Remove the pictures that `choose` names from the gallery at `path`; returns how many there were.

    The condition is judged by the gallery as it is then, with its lock held. Raises InputError, GalleryError.
    """
    with GalleryWriter.open(path) as writer:
        return writer.remove(choose(VectorGallery.open(path), keys, uris=uris, where=where))


def compact(path: Path, *, threads: int) -> Compacted:
    """Write the shards of the gallery at `path` anew without the rows that no longer count, and its index with them.

    A gallery without such rows is left as it is. Raises GalleryError, also for an unfinished one with such rows, whose
    shards have to stay where they are until it is finished.
    """
    with GalleryWriter.open(path) as writer:
        before = writer.manifest
        if before.removed is not None:
            writer.compact(threads=threads)
        after = writer.manifest
        return Compacted(len(writer), before.num_rows - after.num_rows, _num_bytes(before), _num_bytes(after))


def rebuild(path: Path, *, threads: int, progress: Callable[[int, int], None] | None = None) -> int:
    """Build the index of the gallery at `path` anew from its shards; returns how many images it covers.

    The present index is not looked at, so it may be missing or damaged. With an index an unfinished gallery can be
    searched too. `progress(done, total)` counts images. Raises GalleryError.
    """
    with GalleryWriter.open(path) as writer:
        writer.update_index(threads=threads, fresh=True, progress=progress)
        return len(writer)


def _num_bytes(manifest: Manifest) -> int:
    return sum(file.num_bytes for file in manifest.files)
