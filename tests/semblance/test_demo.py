"""The demo, run for real on a small stand-in: its figures by brute force, its files, and what it may replace."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from semblance import Encoder, Gallery
from semblance.demo import DemoResult, run_demo
from semblance.draw import save_png
from semblance.errors import GalleryError
from semblance.inputs.datasets import CLASSES
from semblance.inputs.standin import drawn_fashion

NUM_GALLERY, NUM_QUERIES = 600, 60


def small_demo(folder: Path, *, num_gallery: int = NUM_GALLERY, **options: Any) -> DemoResult:
    options = {"stand_in": True, "say": lambda _: None, **options}
    return run_demo(folder, num_images=(num_gallery, NUM_QUERIES), **options)


def content_of(folder: Path) -> dict[str, bytes | None]:
    """Everything under a folder, by its path from there; None for folders."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def seen() -> list[tuple[int, int]]:
    """What the demo's progress was called with."""
    return []


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, seen: list[tuple[int, int]]) -> DemoResult:
    return small_demo(tmp_path_factory.mktemp("demo"), progress=lambda done, total: seen.append((done, total)))


@pytest.fixture(scope="module")
def queries() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return drawn_fashion("test", num_images=NUM_QUERIES)


@pytest.fixture(scope="module")
def nearest(queries: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> NDArray[np.int64]:
    """The plain reference: each query's gallery rows, nearest first, [Q, N]."""
    encoder = Encoder.load("siamese")
    gallery = encoder.embed(drawn_fashion("train", num_images=NUM_GALLERY)[0]).astype(np.float64)  # [N, D]
    asked = encoder.embed(queries[0]).astype(np.float64)  # [Q, D]
    cosines = asked @ gallery.T / np.linalg.norm(asked, axis=1)[:, None] / np.linalg.norm(gallery, axis=1)
    assert encoder.card.metric == "cos"
    return np.argsort(-cosines, axis=1, kind="stable")


def test_figures_are_what_brute_force_gives(
    demo: DemoResult, nearest: NDArray[np.int64], queries: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    labels = drawn_fashion("train", num_images=NUM_GALLERY)[1]
    is_right = labels[nearest] == queries[1][:, None]  # [Q, N]
    assert demo.precision_at_1 == pytest.approx(is_right[:, 0].mean(), abs=1e-12)
    assert demo.precision_at_5 == pytest.approx(is_right[:, :5].mean(), abs=1e-12)
    assert demo.precision_at_10 == pytest.approx(is_right[:, :10].mean(), abs=1e-12)
    assert demo.recall_at_10 == pytest.approx((is_right[:, :10].sum(axis=1) / is_right.sum(axis=1)).mean(), abs=1e-12)
    assert demo.hit_rate_at_5 == pytest.approx(is_right[:, :5].any(axis=1).mean(), abs=1e-12)


def test_all_figures_are_in_range(demo: DemoResult, seen: list[tuple[int, int]]) -> None:
    assert (demo.num_gallery, demo.num_queries, demo.model) == (NUM_GALLERY, NUM_QUERIES, "siamese")
    assert "stand-in" in demo.data
    for name in ("precision_at_1", "precision_at_5", "precision_at_10", "recall_at_10", "f1_at_10",
                 "mean_average_precision_at_10", "hit_rate_at_5", "index_recall_at_10"):  # fmt: skip
        assert 0 < getattr(demo, name) <= 1, name
    assert demo.precision_at_1 > 0.5  # ten classes: chance is 0.1
    assert demo.index_recall_at_10 > 0.95
    for rate in (demo.embed_images_per_sec, demo.build_images_per_sec):
        assert 0 < rate < math.inf
    assert 0 < demo.query_p50_ms <= demo.query_p99_ms < math.inf
    assert seen[-1] == (NUM_GALLERY, NUM_GALLERY)


def test_the_pictures_can_be_read(demo: DemoResult, queries: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    sheet = cv2.imread(str(demo.sheet))
    assert sheet is not None
    assert min(sheet.shape[:2]) > 600  # ten rows of a query and five neighbours
    assert len(np.unique(sheet)) > 100
    saved = sorted((demo.gallery.parent / "queries").iterdir())
    assert len(saved) == len(CLASSES)
    assert len(demo.queries) == 3
    assert set(demo.queries) <= set(saved)
    labels = set()
    for path in saved:
        row = int(path.stem.rpartition("-")[2])
        np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), queries[0][row])
        labels.add(int(queries[1][row]))
    assert labels == set(range(len(CLASSES)))  # one of each class


def test_the_gallery_opens_and_answers(demo: DemoResult, nearest: NDArray[np.int64]) -> None:
    gallery = Gallery.open(demo.gallery)
    assert len(gallery) == NUM_GALLERY
    rows = [int(path.stem.rpartition("-")[2]) for path in demo.queries]
    found = gallery.search(list(demo.queries), k=5, exact=True)
    np.testing.assert_array_equal(found.keys, nearest[rows, :5])
    assert {hit.label for row in gallery.hits(list(demo.queries), k=5) for hit in row} <= set(CLASSES)


# ----------------------------------------------------------------------------------------------------------------------
# What lies where the gallery is to go


def test_running_again_replaces_the_earlier_gallery(tmp_path: Path) -> None:
    small_demo(tmp_path / "demo")
    again = small_demo(tmp_path / "demo", num_gallery=200)
    assert again.num_gallery == 200
    assert len(Gallery.open(again.gallery)) == 200


def test_a_demo_that_was_interrupted_can_be_run_again(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_demo(tmp_path / "demo", progress=interrupt)
    assert len(Gallery.open(small_demo(tmp_path / "demo", num_gallery=200).gallery)) == 200


def own_gallery(path: Path) -> None:
    rng = np.random.default_rng(8)
    for which in range(3):
        save_png(path.parent.parent / "photos" / f"{which}.png", rng.integers(0, 256, (28, 28), dtype=np.uint8))
    Gallery.build(path.parent.parent / "photos", Encoder.load("siamese", threads=1, max_batch=4), path)


def other_folder(path: Path) -> None:
    (path / "holidays").mkdir(parents=True)
    (path / "holidays" / "beach.jpg").write_bytes(b"the only copy")


def empty_folder(path: Path) -> None:
    path.mkdir(parents=True)


def single_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a file called gallery")


@pytest.mark.parametrize("make", [own_gallery, other_folder, empty_folder, single_file])
def test_what_no_demo_made_is_refused_and_left_as_it_is(tmp_path: Path, make: Callable[[Path], None]) -> None:
    folder = tmp_path / "mine"
    make(folder / "gallery")
    before = content_of(folder)
    with pytest.raises(GalleryError, match="in the way"):
        small_demo(folder)
    assert content_of(folder) == before


@pytest.mark.parametrize("make", [own_gallery, other_folder, single_file])
def test_what_a_user_put_there_is_safe_even_where_a_demo_has_been(tmp_path: Path, make: Callable[[Path], None]) -> None:
    folder = tmp_path / "demo"
    small_demo(folder, num_gallery=200).gallery.rename(tmp_path / "moved")
    make(folder / "gallery")
    before = content_of(folder)
    with pytest.raises(GalleryError, match="in the way"):
        small_demo(folder)
    assert content_of(folder) == before


# ----------------------------------------------------------------------------------------------------------------------
# Without Fashion-MNIST


def test_it_says_that_a_stand_in_takes_the_place_of_missing_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("SEMBLANCE_DATA", str(tmp_path / "empty"))
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "empty"))
    with socket.socket() as closed:  # bound and not listening: a connection is refused at once
        closed.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{closed.getsockname()[1]}")
            monkeypatch.delenv(name.upper(), raising=False)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        said: list[str] = []
        result = small_demo(tmp_path / "project" / "demo", num_gallery=200, stand_in=False, say=said.append)
    assert "stand-in" in result.data
    assert result.num_gallery == 200
    (told,) = [text for text in said if "stand-in" in text]
    assert "no Fashion-MNIST here" in told
    assert str(tmp_path / "empty") in told
    assert "the download failed" in told
    assert "not Fashion-MNIST's" in told
