"""Shortlists in the order of what keypoints agree on, beside the same pair by pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bench.rerank import altered
from export.images import encoded_photographs
from semblance.errors import GalleryError, InputError
from semblance.gallery.gallery import Neighbours
from semblance.inference.encoder import Encoder
from semblance.inputs.idx import read_idx
from semblance.local.geometry import verify
from semblance.local.matching import match
from semblance.local.sift import SiftOptions, extract
from semblance.rerank import LEAST_INLIERS, Evidence, KeypointSearch, Verification, Verified
from semblance.search import Gallery

HOW = Verification()
SIFT = SiftOptions(max_keypoints=300)


@pytest.fixture(scope="module")
def photographs(caltech_dir: Path) -> list[bytes]:
    return [encoded for _, encoded in encoded_photographs(next(caltech_dir.glob("*.tar")), 40)]


@pytest.fixture(scope="module")
def gallery(photographs: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """40 photographs, one of them removed again, and a flat picture without keypoints."""
    folder = tmp_path_factory.mktemp("photographs")
    for number, encoded in enumerate(photographs):
        (folder / f"{number:02d}.jpg").write_bytes(encoded)
    cv2.imwrite(str(folder / "40.png"), np.full((50, 60), 128, np.uint8))
    path = tmp_path_factory.mktemp("galleries") / "photographs.gallery"
    made = Gallery.build(folder, Encoder.load("siamese"), path, sift=SIFT, shard_rows=16)
    made.remove([5])
    return made


@pytest.fixture(scope="module")
def queries(photographs: list[bytes]) -> list[bytes]:
    return [altered(photographs[number], np.random.default_rng(number)) for number in (3, 20, 39)]


def test_evidence_is_that_of_each_pair_alone(gallery: Gallery, photographs: list[bytes], queries: list[bytes]) -> None:
    keys = np.array([39, 40, 0, 3, 20])
    query = extract(queries[0], SIFT)
    for how in (HOW, Verification(ratio=0.8, threshold=2.0, model="similarity")):
        found = KeypointSearch(gallery.vectors, SIFT, how).evidence(query, keys)
        for at, key in enumerate(keys.tolist()):
            if key == 40:
                assert (found.matches[at], found.inliers[at]) == (0, 0)
                continue
            other = extract(photographs[key], SIFT)
            pairs = match(query.descriptors, other.descriptors, ratio=how.ratio)
            nearest: dict[int, tuple[float, int]] = {}
            for asked, there, distance in zip(pairs.query, pairs.train, pairs.distance, strict=True):
                nearest[there] = min(nearest.get(there, (np.inf, 0)), (distance, asked))
            kept = sorted((asked, there) for there, (_, asked) in nearest.items())
            assert found.matches[at] == len(kept)
            a, b = query.points[[each[0] for each in kept]], other.points[[each[1] for each in kept]]
            inliers = verify(a, b, model=how.model, threshold=how.threshold).num_inliers
            assert found.inliers[at] == (inliers if inliers >= LEAST_INLIERS else 0)
        assert found.inliers[3] > 20


def test_only_the_likeliest_are_verified(gallery: Gallery, queries: list[bytes]) -> None:
    query = extract(queries[0], SIFT)
    keys = np.array([3, 3, 3, 0])
    found = KeypointSearch(gallery.vectors, SIFT, Verification(shortlist=2)).evidence(query, keys)
    assert (found.inliers > 0).tolist() == [True, True, False, False]
    assert (found.matches[:3] == found.matches[0]).all()


def test_the_order_is_by_inliers_then_distance_then_key() -> None:
    evidence = Evidence(np.array([9, 50, 0, 8, 9]), np.array([0, 40, 0, 40, 0]))
    order = evidence.order(np.array([0.2, 0.5, 0.1, 0.5, 0.2]), np.array([7, 9, 5, 8, 6]))
    assert order.tolist() == [3, 1, 2, 4, 0]


def test_an_altered_photograph_finds_its_original_first(gallery: Gallery, queries: list[bytes]) -> None:
    plain = gallery.search(queries, 40)
    found = gallery.search(queries, 5, rerank=HOW)
    assert isinstance(found, Verified)
    assert found.keys[:, 0].tolist() == [3, 20, 39]
    assert (found.inliers[:, 0] > 15).all()
    assert (found.inliers <= found.matches).all()
    for row in range(3):  # distances are those of the embeddings
        of_key = dict(zip(plain.keys[row].tolist(), plain.distances[row].tolist(), strict=True))
        assert found.distances[row].tolist() == [of_key[key] for key in found.keys[row].tolist()]
        behind = found.inliers[row] == 0
        assert (np.diff(found.distances[row][behind]) >= 0).all()
    (hit,) = gallery.hits([queries[0]], 1, rerank=HOW)[0]
    assert (hit.key, hit.inliers, hit.matches) == (3, found.inliers[0, 0], found.matches[0, 0])
    again = gallery.search(queries, 5, rerank=HOW)
    np.testing.assert_array_equal(again.keys, found.keys)


def test_a_shortlist_is_at_least_k(gallery: Gallery, queries: list[bytes]) -> None:
    found = gallery.search(queries[0], 40, rerank=Verification(shortlist=1))
    assert found.counts.tolist() == [40]
    assert sorted(found.keys[0].tolist()) == [key for key in range(41) if key != 5]


def test_sift_alone_ranks_the_whole_gallery(gallery: Gallery, queries: list[bytes]) -> None:
    found = gallery.search_sift(queries, 40)
    assert found.keys[:, 0].tolist() == [3, 20, 39]
    assert np.isnan(found.distances).all()
    for row in range(3):
        assert sorted(found.keys[row].tolist()) == [key for key in range(41) if key != 5]
        ranks = list(zip(-found.inliers[row], -found.matches[row], found.keys[row], strict=True))
        assert ranks == sorted(ranks)
    some = gallery.search_sift(queries[0], 10, where="key < 3 OR key = 20")
    assert some.counts.tolist() == [4]
    assert sorted(some.keys[0, :4].tolist()) == [0, 1, 2, 20]
    assert some.keys[0, 4:].tolist() == [-1] * 6


def test_pictures_of_the_gallery_by_key(gallery: Gallery, photographs: list[bytes]) -> None:
    by_key, by_picture = gallery.search_keys([20], 4, rerank=HOW), gallery.search([photographs[20]], 4, rerank=HOW)
    assert by_key.keys[0, 0] == by_picture.keys[0, 0] == 20
    np.testing.assert_array_equal(by_key.inliers, by_picture.inliers)
    np.testing.assert_array_equal(
        gallery.search_sift_keys([20], 4).keys, gallery.search_sift([photographs[20]], 4).keys
    )
    flat = gallery.search_keys([40], 3, rerank=HOW)  # it has no keypoints: as by embedding
    np.testing.assert_array_equal(flat.keys, gallery.search_keys([40], 3).keys)
    assert flat.inliers.tolist() == [[0, 0, 0]]
    with pytest.raises(InputError, match="key 5 is not in"):
        gallery.search_keys([5], 3, rerank=HOW)


def test_no_queries_and_no_candidates(gallery: Gallery) -> None:
    assert gallery.search_keys([], 3, rerank=HOW).keys.shape == (0, 3)
    nothing = gallery.search_keys([20], 3, rerank=HOW, where="width > 99999")
    assert nothing.counts.tolist() == [0]
    assert gallery.search_sift_keys([20], 3, where="width > 99999").counts.tolist() == [0]


def test_a_gallery_without_keypoints_is_refused(photographs: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0.jpg").write_bytes(photographs[0])
    plain = Gallery.build(tmp_path / "pictures", Encoder.load("siamese"), tmp_path / "plain.gallery")
    for search in (lambda: plain.search([photographs[0]], 1, rerank=HOW), lambda: plain.search_sift_keys([0], 1)):
        with pytest.raises(GalleryError, match=r"keeps no keypoints to compare; make one with `semblance embed"):
            search()
    assert type(plain.search([photographs[0]], 1)) is Neighbours


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ratio": 0}, "ratio must be"),
        ({"ratio": True}, "ratio must be"),
        ({"shortlist": 0}, "shortlist must be an integer of at least 1"),
        ({"threshold": 0.0}, "threshold must be"),
        ({"model": "magic"}, "model must be one of"),
        ({"model": "fundamental"}, "model must be 'homography' or 'similarity' here"),
        ({"threads": 0}, "threads must be"),
    ],
)
def test_other_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Verification(**options)


def test_pictures_of_few_keypoints_do_not_fill_the_shortlist(
    photographs: list[bytes], queries: list[bytes], fashion_mnist_dir: Path, tmp_path: Path
) -> None:
    """Many of a query's keypoints match the one or two of a tiny picture, for which no second is nearer."""
    (tmp_path / "pictures").mkdir()
    images = read_idx(fashion_mnist_dir / "t10k-images-idx3-ubyte.gz")
    for number, image in enumerate(images[:400]):
        cv2.imwrite(str(tmp_path / "pictures" / f"{number:03d}.png"), image)
    for number in (3, 20, 39):
        (tmp_path / "pictures" / f"9{number:02d}.jpg").write_bytes(photographs[number])
    made = Gallery.build(tmp_path / "pictures", Encoder.load("siamese"), tmp_path / "made.gallery", sift=SIFT)
    found = made.search_sift(queries, 1, how=Verification(shortlist=5))
    assert [Path(made.vectors.uris[row]).name for row in made.vectors.rows_of(found.keys[:, 0])] == [
        "903.jpg", "920.jpg", "939.jpg",
    ]  # fmt: skip
    assert (found.inliers > 10).all()
    assert (found.matches <= 300).all()


def test_a_large_picture_is_measured_as_sift_sees_it(photographs: list[bytes], tmp_path: Path) -> None:
    """Enlarged four times and shrunk again for SIFT, a picture agrees as well as before."""
    small = cv2.imdecode(np.frombuffer(photographs[20], np.uint8), cv2.IMREAD_COLOR)
    large = cv2.resize(small, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "large.png"), large)
    query = altered(photographs[20], np.random.default_rng(20))
    inliers = []
    for longest_side in (max(small.shape), None):
        path = tmp_path / f"{longest_side}.gallery"
        sift = SiftOptions(max_keypoints=300, longest_side=longest_side)
        made = Gallery.build(tmp_path / "pictures", Encoder.load("siamese"), path, sift=sift)
        inliers.append(int(made.search([query], 1, rerank=HOW).inliers[0, 0]))
    assert inliers[0] > 40
    assert inliers[0] > inliers[1]


@pytest.mark.parametrize("side", [28, 100, 1000])
@pytest.mark.parametrize("count", [20, 50, 500])
def test_what_agrees_by_chance_is_no_evidence(gallery: Gallery, side: int, count: int) -> None:
    rng = np.random.default_rng(side + count)
    search = KeypointSearch(gallery.vectors, SIFT)
    for _ in range(5):
        a, b = (rng.uniform(0, side, (count, 2)).astype(np.float32) for _ in range(2))
        assert search._verified(a, b, (side, side)) == 0
    shifted = (a + 0.1).astype(np.float32)  # and what really does agree is, if there is room to tell
    if side > 28:
        assert search._verified(a, shifted, (side, side)) > 0.9 * count


def test_mirrored_and_squeezed_pictures_are_no_evidence(gallery: Gallery) -> None:
    search = KeypointSearch(gallery.vectors, SIFT)
    a = np.random.default_rng(0).uniform(0, 300, (60, 2)).astype(np.float32)
    assert search._verified(a, a + 1, (300, 300)) == 60
    assert search._verified(a, np.c_[300 - a[:, 0], a[:, 1]], (300, 300)) == 0
    assert search._verified(a, 0.05 * a + 10, (300, 300)) == 0
