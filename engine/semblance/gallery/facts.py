"""What is in a gallery, by its manifest alone: quick at any size, and for unfinished and damaged ones too.

In: a gallery's folder. Out: plain facts. No other file is opened, so that they are what was committed, not whether it
is still there: `verify` tells that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semblance.gallery.manifest import Manifest, Part


@dataclass(frozen=True, slots=True)
class Facts:
    """What a user asks for first."""

    images: int
    unusable: int  # listed in errors.parquet
    removed: int  # rows that no longer count, which `compact` drops
    is_complete: bool
    sources: tuple[Part, ...]
    model: str
    precision: str
    dimension: int
    metric: str
    fingerprint: str
    vector_type: str
    columns: Mapping[str, str]  # the sources' own, with their types
    sift: Mapping[str, Any] | None  # how keypoints were found; None: the gallery holds none
    keypoints: int  # of all rows, removed ones too
    shards: int
    index_generation: int | None  # None: there is no index
    index_bytes: int
    num_unindexed: int  # the youngest rows, which are compared one by one
    bytes: int  # of all files


def read_facts(path: Path) -> Facts:
    """The facts about the gallery at `path`. Raises GalleryError where there is none, or its manifest is damaged."""
    manifest = Manifest.read(Path(path))
    card, index = manifest.card, manifest.index
    return Facts(
        images=manifest.num_images,
        unusable=manifest.errors.num_rows,
        removed=manifest.removed.num_rows if manifest.removed else 0,
        is_complete=manifest.is_complete,
        sources=manifest.parts,
        model=card.name,
        precision=card.precision,
        dimension=card.dimension,
        metric=card.metric,
        fingerprint=card.fingerprint,
        vector_type=manifest.options["vector_type"],
        columns=dict(manifest.columns or {}),
        sift=dict(manifest.options["sift"]) if manifest.has_keypoints else None,
        keypoints=sum(file.num_rows for file in manifest.sift),
        shards=len(manifest.shards),
        index_generation=index.generation if index else None,
        index_bytes=index.num_bytes if index else 0,
        num_unindexed=manifest.num_rows - (index.num_rows if index else 0),
        bytes=sum(file.num_bytes for file in manifest.files),
    )
