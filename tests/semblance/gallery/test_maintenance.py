"""What upkeep does of itself, when, and that a failure of it is put off; step by step, without a thread that writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semblance.errors import GalleryError, InputError
from semblance.gallery import maintenance
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.maintenance import Maintenance, Thresholds
from semblance.gallery.shards import Row
from semblance.gallery.verify import verify
from semblance.gallery.writer import GalleryWriter

NEVER = 10**9


def put(writer: GalleryWriter, key: int, num: int = 1) -> None:
    rows = [Row(key + at, f"{key + at}.jpg", "0" * 64, 9, 9) for at in range(num)]
    writer.change(rows, np.random.default_rng(key).standard_normal((num, 16), dtype=np.float32))


@pytest.fixture
def writer(gallery_path: Path) -> Iterator[GalleryWriter]:
    with GalleryWriter.open(gallery_path) as opened:
        yield opened
    assert verify(gallery_path) == []


@pytest.fixture
def make() -> Iterator[Callable[..., Maintenance]]:
    made: list[Maintenance] = []

    def maintained(**thresholds: Any) -> Maintenance:
        never = {"merged_shards": NEVER, "younger_rows": NEVER, "most_younger_rows": NEVER, "dead_rows": NEVER}
        made.append(Maintenance(Thresholds(**{**never, **thresholds}), lambda: None))
        return made[-1]

    yield maintained
    for each in made:
        each.abandon()


def stepped(maintained: Maintenance, writer: GalleryWriter) -> bool:
    """One step that commits, for which an index in another thread may have to be waited."""
    for _ in range(400):
        if maintained.step(writer):
            return True
        time.sleep(0.01)
    return False


def test_shards_are_joined_when_there_are_more_than_enough(writer: GalleryWriter, make: Any) -> None:
    maintained = make(merged_shards=4)
    for key in range(1000, 1004):
        put(writer, key)
        assert not maintained.step(writer)
    put(writer, 1004)
    assert maintained.step(writer)
    assert not maintained.step(writer)
    assert [shard.num_rows for shard in writer.manifest.shards] == [100, 100, 100, 5]


@pytest.mark.parametrize(
    "thresholds", [{"younger_rows": 5}, {"most_younger_rows": 5}, {"younger_rows": 0, "younger_share": 0.0166}]
)
def test_an_index_is_made_when_there_is_enough_to_add(
    writer: GalleryWriter, make: Any, thresholds: dict[str, Any]
) -> None:
    maintained = make(**({"younger_share": 0.0} | thresholds))
    put(writer, 1000, 5)
    assert not maintained.step(writer)
    assert not writer.is_indexing
    put(writer, 1005)
    assert not maintained.step(writer)
    assert writer.is_indexing
    put(writer, 1006)
    writer.remove(np.array([1000, 3]))
    assert stepped(maintained, writer)
    assert not writer.is_indexing
    assert writer.manifest.index is not None
    assert (writer.manifest.index.generation, writer.manifest.index.num_rows, writer.num_younger) == (2, 306, 1)
    gallery = VectorGallery.open(writer.path)
    assert gallery.search(gallery.vectors, k=1).keys[:, 0].tolist() == gallery.keys.tolist()


def test_dead_rows_are_dropped_when_they_are_most(writer: GalleryWriter, make: Any) -> None:
    maintained = make(dead_rows=10, younger_rows=0, younger_share=0.0)
    put(writer, 1000)
    maintained.step(writer)
    assert writer.is_indexing  # of rows that will have other numbers
    writer.remove(np.arange(150))
    writer.remove(np.array([200]))
    assert maintained.step(writer)
    assert not writer.is_indexing
    assert (writer.manifest.num_rows, len(writer)) == (150, 150)
    assert not maintained.step(writer)


def test_half_dead_is_not_dead_enough(writer: GalleryWriter, make: Any) -> None:
    maintained = make(dead_rows=10)
    writer.remove(np.arange(150))
    assert not maintained.step(writer)
    assert not make(dead_rows=200).step(writer)


def test_a_failure_is_put_off(
    writer: GalleryWriter, make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    maintained = make(dead_rows=10, dead_share=0.0)
    writer.remove(np.arange(20))

    def fail(self: GalleryWriter, *, threads: int) -> None:
        raise GalleryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(GalleryWriter, "compact", fail)
        with pytest.raises(GalleryError, match="no room"):
            maintained.step(writer)
    assert "upkeep of the gallery is put off for 60 s: no room" in caplog.text
    assert not maintained.step(writer)
    later = time.monotonic() + 61
    monkeypatch.setattr(maintenance.time, "monotonic", lambda: later)
    assert maintained.step(writer)


def test_an_index_that_cannot_be_made_is_put_off(
    writer: GalleryWriter, make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError("too much")

    monkeypatch.setattr("semblance.gallery.index_update.IndexUpdate.updated", fail)
    maintained = make(younger_rows=0, younger_share=0.0)
    put(writer, 1000)
    for _ in range(100):
        assert not maintained.step(writer)
        if not writer.is_indexing:
            break
        time.sleep(0.01)
    assert not writer.is_indexing
    assert "is put off for 60 s: too much" in caplog.text


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"merged_shards": -1}, {"dead_share": 1.5}, {"younger_rows": 0.5}])
def test_thresholds_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Thresholds(**wrong)
