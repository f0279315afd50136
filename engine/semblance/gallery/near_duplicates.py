"""Near-duplicates of an open gallery: its vectors handed to duplicates.py, and its pictures for the rows of the groups.

In: an open gallery and a distance. Out: groups of pictures. Rows are counted here as a gallery lists its pictures, so
that `keys`, `uris` and `labels` of it are those of a group's members.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from semblance.errors import InputError
from semblance.gallery.duplicates import Groups, group, near_groups, near_pairs_by_index
from semblance.gallery.gallery import VectorGallery


def near_duplicates(
    gallery: VectorGallery,
    distance: float,
    *,
    approximate: bool = False,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Groups:
    """Groups of pictures that hang together by pairs at `distance` or nearer, by the card's metric.

    Every picture is compared with every other, block by block; with `approximate` only with those that the index finds
    near it, which takes a fraction of the time in a large gallery and may miss some. `progress(done, total)` counts
    pieces of work. Raises InputError for a distance that is negative or no number, GalleryError.
    """
    blocks, metric, alive = gallery.all_rows.blocks(), gallery.card.metric, gallery.alive
    rows = np.flatnonzero(alive)
    if approximate:
        if not 0 <= distance < np.inf:
            raise InputError(f"distance must be a finite number of at least 0, is {distance!r}")

        def search(
            queries: NDArray[np.float32], k: int
        ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
            near = gallery.search(queries, k=k, threads=threads)
            return rows[gallery.rows_of(near.keys)], near.distances, near.counts

        pairs = near_pairs_by_index(search, blocks, metric=metric, distance=distance, alive=alive, progress=progress)
        found = group(pairs, len(alive))
    else:
        found = near_groups(blocks, metric=metric, distance=distance, alive=alive, progress=progress)
    return replace(found, rows=np.searchsorted(rows, found.rows))
