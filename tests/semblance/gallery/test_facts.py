"""Facts about a gallery, against the opened gallery and the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semblance.errors import GalleryError
from semblance.gallery.facts import read_facts
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.upkeep import remove


def test_facts_are_those_of_the_opened_gallery(gallery_path: Path) -> None:
    remove(gallery_path, [4, 5])
    gallery, facts = VectorGallery.open(gallery_path), read_facts(gallery_path)
    assert (facts.images, facts.removed, facts.unusable, facts.shards) == (len(gallery), 2, 0, 3)
    assert (facts.model, facts.dimension, facts.metric) == (gallery.card.name, 16, "cos")
    assert [part.source for part in facts.sources] == gallery.sources
    assert facts.index_bytes == next((gallery_path / "index").iterdir()).stat().st_size
    files = [file for file in gallery_path.rglob("*") if file.is_file() and file.name != "manifest.json"]
    assert facts.bytes == sum(file.stat().st_size for file in files)
    assert (facts.is_complete, facts.num_unindexed) == (True, 0)


def test_there_must_be_a_gallery(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="no gallery"):
        read_facts(tmp_path / "nowhere")


def test_how_many_keypoints_there_are_and_how_they_were_found(gallery_path: Path, sift_path: Path) -> None:
    assert (read_facts(gallery_path).sift, read_facts(gallery_path).keypoints) == (None, 0)
    facts, gallery = read_facts(sift_path), VectorGallery.open(sift_path)
    assert facts.sift == {"max_keypoints": 300, "contrast_threshold": 0.04}
    assert gallery.keypoints is not None
    assert facts.keypoints == gallery.keypoints.counts(np.arange(300)).sum() > 300
    assert gallery.describe()["keypoints"] == facts.keypoints
