"""The public gallery: build, open, search, and the guard between embedding spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semblance import Encoder, Gallery, SpaceMismatch
from semblance.errors import GalleryError, InputError, ModelNotFound
from semblance.inputs.sources import ArraySource


@pytest.fixture
def encoder(tiny_model: Any) -> Encoder:
    return Encoder.load(tiny_model.path, threads=1, max_batch=8)


@pytest.fixture
def images() -> Any:
    return np.random.default_rng(5).integers(0, 256, (50, 8, 8), dtype=np.uint8)


@pytest.fixture
def gallery(encoder: Encoder, images: Any, tmp_path: Path) -> Gallery:
    labels = [str(row % 5) for row in range(len(images))]
    return Gallery.build(ArraySource(images, labels=labels, name="noise"), encoder, tmp_path / "g")


def test_every_picture_is_its_own_nearest_neighbour(gallery: Gallery, images: Any) -> None:
    found = gallery.search(images, k=4)
    assert found.keys.shape == (50, 4)
    assert found.counts.tolist() == [4] * 50
    assert found.keys[:, 0].tolist() == list(range(50))
    np.testing.assert_allclose(found.distances[:, 0], 0, atol=1e-4)
    assert (np.diff(found.distances, axis=1) >= 0).all()


def test_neighbours_equal_brute_force(gallery: Gallery, images: Any, tiny_model: Any) -> None:
    vectors = tiny_model.embed(images[..., None]).astype(np.float64)
    queries = np.random.default_rng(6).integers(0, 256, (9, 8, 8), dtype=np.uint8)
    distances = ((tiny_model.embed(queries[..., None]).astype(np.float64)[:, None] - vectors) ** 2).sum(axis=2)
    for exact, digits in ((True, 1e-5), (False, 2e-3)):  # fifty vectors: the index, in half floats, finds them all too
        found = gallery.search(queries, k=7, exact=exact)
        np.testing.assert_array_equal(found.keys, distances.argsort(axis=1)[:, :7])
        np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :7], rtol=digits, atol=digits)


def test_an_opened_gallery_answers_as_the_one_that_was_built(gallery: Gallery, images: Any, encoder: Encoder) -> None:
    reopened = Gallery.open(gallery.vectors.path, encoder)
    assert len(reopened) == 50
    np.testing.assert_array_equal(reopened.search(images, k=3).keys, gallery.search(images, k=3).keys)


def test_hits_carry_what_the_gallery_knows(gallery: Gallery, images: Any) -> None:
    (row,) = gallery.hits([images[7]], k=2)
    assert (row[0].key, row[0].label) == (7, "2")
    assert row[0].distance == pytest.approx(0, abs=1e-4)
    assert row[0].uri == gallery.vectors.uris[7]


def test_the_gallerys_own_model_is_loaded_by_name(
    gallery: Gallery, images: Any, tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "home"))
    with pytest.raises(ModelNotFound, match=r"made with model 'tiny'.*--model FILE\.onnx"):
        Gallery.open(gallery.vectors.path).search(images[:1], k=1)
    (tmp_path / "home" / "models").mkdir(parents=True)
    (tmp_path / "home" / "models" / "tiny.onnx").write_bytes(tiny_model.path.read_bytes())
    assert Gallery.open(gallery.vectors.path).search(images[:1], k=1).keys.tolist() == [[0]]


def test_another_space_is_refused_naming_both(gallery: Gallery, tiny_model_maker: Any) -> None:
    other = Encoder.load(tiny_model_maker("other", seed=9).path, threads=1)
    with pytest.raises(SpaceMismatch, match=r"'tiny'.*'other'"):
        Gallery.open(gallery.vectors.path, other)


@pytest.mark.parametrize("k", [0, -1, 51])
def test_a_k_that_cannot_be_answered_is_refused_with_both_numbers(gallery: Gallery, images: Any, k: int) -> None:
    with pytest.raises(InputError, match=rf"{k}.*50|50.*{k}"):
        gallery.search(images[:1], k=k)


def test_no_gallery_there(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="nowhere"):
        Gallery.open(tmp_path / "nowhere")


def test_a_source_can_be_named_by_its_folder(encoder: Encoder, images: Any, tmp_path: Path) -> None:
    import cv2

    (tmp_path / "photos").mkdir()
    for which, image in enumerate(images[:3]):
        cv2.imwrite(str(tmp_path / "photos" / f"{which}.png"), image)
    gallery = Gallery.build(str(tmp_path / "photos"), encoder, tmp_path / "named")
    assert gallery.search(images[:3], k=1).keys.ravel().tolist() == [0, 1, 2]
