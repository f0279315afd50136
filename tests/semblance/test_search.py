"""The public gallery: build, open, search, and the guard between embedding spaces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from semblance import Encoder, Gallery, SpaceMismatch
from semblance.errors import GalleryError, InputError, ModelNotFound
from semblance.gallery.gallery import VectorGallery
from semblance.inputs.sources import ArraySource
from semblance.local.sift import SiftOptions, extract
from semblance.search import load_encoder, open_pictures, sift_options
from tests.conftest import make_tiny_model


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


def test_a_gallery_is_asked_in_the_precision_that_it_was_made_in(
    images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "models"
    folder.mkdir(parents=True)
    make_tiny_model(folder / "mine.onnx")
    int8 = make_tiny_model(folder / "mine.int8.onnx", name="mine", precision="int8")
    vectors = Gallery.build(ArraySource(images), Encoder.load("mine.int8"), tmp_path / "g").vectors
    caplog.set_level("INFO", "semblance")
    assert load_encoder(vectors).card.precision == "int8"
    assert caplog.messages == []
    int8.path.unlink()
    assert load_encoder(vectors).card.precision == "fp32"
    assert "made in int8, of which there is no file here: asked in fp32" in caplog.messages[0]
    (folder / "mine.onnx").unlink()
    with pytest.raises(ModelNotFound, match="'mine'"):
        load_encoder(vectors)


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


# ----------------------------------------------------------------------------------------------------------------------
# A gallery that changes


def test_removed_pictures_are_found_no_more(gallery: Gallery, images: Any) -> None:
    uris = [gallery.vectors.uris[7]]
    assert gallery.remove([3, 4, 999], uris=uris, where="label = '0' AND key >= 40") == 5
    assert len(gallery) == 45
    gone = {3, 4, 7, 40, 45}
    for exact in (False, True):
        found = gallery.search(images, k=45, exact=exact)
        assert not gone & set(found.keys.ravel().tolist())
        assert found.keys[8, 0] == 8
    assert gallery.remove([3]) == 0
    with pytest.raises(InputError, match="where"):
        gallery.remove(where="no_column = 1")
    assert len(gallery) == 45


def test_a_condition_is_judged_by_the_gallery_as_it_is_now(gallery: Gallery, encoder: Encoder, images: Any) -> None:
    other = Gallery.open(gallery.vectors.path, encoder)
    other.add(ArraySource(255 - images[:4], labels=["late"] * 4, name="more"))
    assert gallery.remove(where="label = 'late'") == 4
    assert len(gallery) == 50


def test_compacting_and_rebuilding_change_no_answer(gallery: Gallery, images: Any) -> None:
    gallery.remove(where="key % 2 = 0")
    before = gallery.search(images, k=25, exact=True)
    assert gallery.compact().num_dropped == 25
    assert gallery.rebuild() == 25
    after = gallery.search(images, k=25, exact=True)
    np.testing.assert_array_equal(after.keys, before.keys)
    np.testing.assert_array_equal(after.distances, before.distances)


def test_keys_as_queries_need_no_encoder(gallery: Gallery) -> None:
    found = Gallery.open(gallery.vectors.path).search_keys([9, 2], 3)
    assert found.keys[:, 0].tolist() == [9, 2]


def test_what_a_gallery_tells_of_itself(gallery: Gallery, encoder: Encoder, images: Any, tmp_path: Path) -> None:
    gallery.add(ArraySource(images[[6, 6]], name="copies"))
    groups = gallery.duplicates(1e-6)
    assert gallery.vectors.keys[groups.rows].tolist() == [6, 50, 51]
    assert gallery.duplicates(1e-6, approximate=True).rows.tolist() == groups.rows.tolist()
    assert gallery.recall(5, sample=20).num_queries == 20
    assert gallery.export(tmp_path / "x.npy") == [tmp_path / "x.npy", tmp_path / "x.keys.npy"]


def test_options_of_a_place_are_refused_where_they_would_be_dropped(gallery: Gallery, images: Any) -> None:
    with pytest.raises(InputError, match=r"label_column='kind'.*no use"):
        open_pictures(gallery.vectors.path, label_column="kind")
    with pytest.raises(InputError, match=r"labels='x\.csv'.*no use"):
        open_pictures(ArraySource(images, name="noise"), labels="x.csv")
    assert len(list(open_pictures("drawn-fashion:test:3", labels=None))) == 3


def test_keypoints_are_kept_and_found_in_the_same_way_ever_after(encoder: Encoder, tmp_path: Path) -> None:
    rng, options = np.random.default_rng(0), SiftOptions(max_keypoints=np.int64(20), contrast_threshold=0.03)
    photos = [cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (160, 120)) for _ in range(5)]
    for number, photo in enumerate(photos):
        (tmp_path / str(number // 3)).mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / str(number // 3) / f"{number}.png"), photo)
    gallery = Gallery.build(str(tmp_path / "0"), encoder, tmp_path / "g", sift=options)
    gallery.add(str(tmp_path / "1"))
    assert sift_options(gallery.vectors) == options
    assert gallery.vectors.keypoints is not None
    for row, uri in enumerate(gallery.vectors.uris):
        expected = extract(tmp_path / str(row // 3) / uri, options)
        found = gallery.vectors.keypoints.keypoints(np.array([row]))
        assert len(found) == 20
        for name in ("points", "sizes", "angles", "responses", "descriptors"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_options_of_sift_that_nobody_knows_are_refused(encoder: Encoder, images: Any, tmp_path: Path) -> None:
    gallery = Gallery.build(ArraySource(images, name="noise"), encoder, tmp_path / "g", sift=SiftOptions())
    assert sift_options(gallery.vectors) == SiftOptions()
    manifest = gallery.vectors.manifest
    newer = {**manifest.options, "sift": {**manifest.options["sift"], "is_affine": True}}
    replace(manifest, options=newer).write(tmp_path / "g")
    with pytest.raises(GalleryError, match=r"SIFT options that this semblance does not know \(.*is_affine.*use the"):
        Gallery.open(tmp_path / "g", encoder).add(ArraySource(images, name="more"))


def test_a_gallery_without_sift_has_no_options_of_it(gallery: Gallery) -> None:
    assert sift_options(gallery.vectors) is None
    assert gallery.vectors.keypoints is None


def test_hits_do_not_list_what_is_known_of_all(gallery: Gallery, images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [(gallery.vectors.uris[row], gallery.vectors.labels[row]) for row in range(50)]
    gallery.remove([3])
    for name in ("uris", "labels"):
        monkeypatch.setattr(VectorGallery, name, property(lambda self: pytest.fail("all of them were listed")))
    hits = gallery.hits(images[:5], k=49)
    assert [len(each) for each in hits] == [49] * 5
    for each in hits:
        assert [(hit.uri, hit.label) for hit in each] == [expected[hit.key] for hit in each]
    assert gallery.described(gallery.search(images[:0], k=3)) == []
    few = gallery.hits(images[:2], k=30, where="label = '1'")
    assert [[hit.label for hit in each] for each in few] == [["1"] * 10] * 2
