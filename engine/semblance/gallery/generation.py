"""The generation of the index that a manifest names, opened: to be searched where it lies, or to be changed in memory.

In: a gallery's folder and its manifest. Out: the index, or None where there is none yet. Whatever is wrong with the
file is a GalleryError, also where a writer took it away between two looks at it: whoever reads then reads the newer
manifest.
"""

from __future__ import annotations

from pathlib import Path

from semblance.errors import GalleryError
from semblance.gallery.index import VectorIndex
from semblance.gallery.manifest import Manifest


def open_index(gallery: Path, manifest: Manifest, *, mmap: bool = True) -> VectorIndex | None:
    """The index of the folder `gallery`, mapped or in memory. Raises GalleryError where it is not what was written."""
    if manifest.index is None:
        return None
    path = gallery / manifest.index.file
    remedy = f"`semblance rebuild {gallery}` makes it anew from the shards"
    try:
        index = VectorIndex.open(
            path,
            metric=manifest.card.metric,
            sha256=manifest.index.sha256,
            factor=manifest.index.factor,
            expansion_add=manifest.options["index"]["expansion_add"],
            expansion_search=manifest.options["index"]["expansion_search"],
            mmap=mmap,
        )
    except GalleryError as error:
        raise GalleryError(f"{error}; {remedy}") from error
    if index.dimension != manifest.card.dimension:
        raise GalleryError(
            f"{path} indexes {index.dimension}-d vectors, the manifest says {manifest.card.dimension}; {remedy}"
        )
    return index
