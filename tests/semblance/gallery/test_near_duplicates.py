"""Near-duplicates of a gallery: the same groups as all pairs in numpy, exactly and through the index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semblance.errors import InputError
from semblance.gallery.build import build
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.near_duplicates import near_duplicates
from semblance.gallery.upkeep import remove
from semblance.inputs.sources import ArraySource


def reference(vectors: np.ndarray, distance: float) -> list[list[int]]:
    """Connected components of two rows or more, by spreading the lowest row until nothing changes."""
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = 1 - unit @ unit.T <= distance
    group = np.arange(len(vectors))
    while True:
        spread = np.where(near, group[None, :], len(vectors)).min(axis=1)
        if (spread == group).all():
            break
        group = spread
    groups = [np.flatnonzero(group == each).tolist() for each in np.unique(group)]
    return [each for each in groups if len(each) > 1]


@pytest.mark.parametrize("approximate", [False, True])
@pytest.mark.parametrize("is_thinned", [False, True])
def test_groups_are_the_connected_pictures(
    tmp_path: Path, encoder, make_pictures, approximate: bool, is_thinned: bool
) -> None:
    rng = np.random.default_rng(2)
    centres = make_pictures(40)[rng.integers(0, 40, 90)].astype(int)
    images = np.clip(centres + rng.integers(-2, 3, centres.shape), 1, 255).astype(np.uint8)
    build(ArraySource(images, name="squares"), encoder, tmp_path / "g", shard_rows=30)
    if is_thinned:
        remove(tmp_path / "g", where="key % 4 = 1")
    gallery = VectorGallery.open(tmp_path / "g")
    heard: list[tuple[int, int]] = []
    groups = near_duplicates(gallery, 1e-3, approximate=approximate, progress=lambda *at: heard.append(at))
    found = [groups.rows[groups.group == number].tolist() for number in range(groups.num_groups)]
    expected = reference(gallery.vectors, 1e-3)
    assert len(expected) > 10
    assert found == expected
    assert heard[-1][0] == heard[-1][1]


@pytest.mark.parametrize("approximate", [False, True])
@pytest.mark.parametrize("distance", [-1.0, float("nan"), float("inf")])
def test_a_distance_must_be_one(gallery: VectorGallery, approximate: bool, distance: float) -> None:
    with pytest.raises(InputError, match="distance must be a finite number"):
        near_duplicates(gallery, distance, approximate=approximate)
