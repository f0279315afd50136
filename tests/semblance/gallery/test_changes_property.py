"""Puts, removals, merges and upkeep in any order, seen by readers that refresh themselves, against a dict.

Values are small integers, so that every distance is exact and ties are the rule.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray

from semblance.gallery.build import build
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.shards import Row
from semblance.gallery.verify import verify
from semblance.gallery.writer import GalleryWriter
from semblance.inputs.sources import Item
from tests.semblance.gallery.conftest import BlockMeans, Items, described, joined, pictures, with_keypoints

KEYS = st.integers(0, 14) | st.sampled_from([-1, 2**40])
LABELS = st.sampled_from([None, "a", "b"])
WHERE = "label = 'a' OR year > 1"


def row(key: int, label: str | None, year: int | None) -> Row:
    return Row(key, f"{key}.jpg", f"{key & 0xFF:064x}", 9, 8, label, {"year": year})


def vector(seed: int) -> NDArray[np.float32]:
    return (
        np.random.default_rng(seed % 1000).integers(-2, 3, 16).astype(np.float32) + np.eye(16, dtype=np.float32)[0] * 7
    )


def reference(held: dict[int, tuple[Row, NDArray[np.float32], int]], query: NDArray[np.float32]) -> list[float]:
    """All squared distances, the smallest first."""
    return sorted(float(((each - query) ** 2).sum()) for _, each, _ in held.values())


class Changes(RuleBasedStateMachine):
    """One gallery with keypoints in shards of six rows, its writer, two readers, and the dict."""

    @initialize(num=st.integers(1, 6))
    def begin(self, num: int) -> None:
        self.stack = ExitStack()
        folder = Path(tempfile.mkdtemp())
        self.stack.callback(shutil.rmtree, folder)
        self.path = folder / "g"
        items = [Item(f"{key}.jpg", image, "a", {"year": key}) for key, image in enumerate(pictures(num))]
        encoder = BlockMeans(card=replace(BlockMeans().card, metric="l2sq"))
        build(Items(items), encoder, self.path, shard_rows=6, extractor=with_keypoints())
        self.writer = self.stack.enter_context(GalleryWriter.open(self.path))
        self.held: dict[int, tuple[Row, NDArray[np.float32], int]] = {}
        self.put(list(range(num)), [], 0, "a", 1)
        self.readers = [VectorGallery.open(self.path), VectorGallery.open(self.path)]
        self.older: list[tuple[VectorGallery, list[int], NDArray[np.float32]]] = []

    @rule(
        put=st.lists(KEYS, max_size=5, unique=True),
        removed=st.lists(KEYS, max_size=4),
        seed=st.integers(0, 20),
        label=LABELS,
        year=st.sampled_from([None, 1, 2]),
    )
    def change(self, put: list[int], removed: list[int], seed: int, label: str | None, year: int | None) -> None:
        self.put(put, [key for key in removed if key not in put], seed, label, year)

    def put(self, keys: list[int], removed: list[int], seed: int, label: str | None, year: int | None) -> None:
        rows, vectors = [row(key, label, year) for key in keys], np.array([vector(seed + key) for key in keys])
        keypoints: list[Any] = [described(np.full((8, 8), (seed + key) % 4, np.uint8)) for key in keys]
        were = len(self.held.keys() & set(removed))
        found = self.writer.change(
            rows, vectors.reshape(-1, 16).astype(np.float32), keypoints=keypoints, removed_keys=removed
        )
        assert found == were
        for key in removed:
            self.held.pop(key, None)
        for at, key in enumerate(keys):
            self.held.pop(key, None)
            self.held[key] = (rows[at], vectors[at], seed)

    @rule(most=st.sampled_from([None, 1]))
    def merge(self, most: int | None) -> None:
        before, index = len(self.writer.rows.tables), self.writer.manifest.index
        fewer = self.writer.merge(most=most)
        assert len(self.writer.rows.tables) == before - fewer
        assert self.writer.manifest.index == index

    @rule()
    def update_index(self) -> None:
        self.writer.update_index(threads=1)

    @rule()
    def index_of_an_earlier_state(self) -> None:
        """As made in another thread, while rows came, went and were merged."""
        update = self.writer.index_update()
        if not update.alive.any() or (index := update.updated(update.opened(), threads=1)) is None:
            return
        self.writer.is_indexing = True
        file = update.saved(index)
        self.put([3, 99], [4], 5, "b", None)
        self.writer.merge()
        self.writer.is_indexing = False
        self.writer.commit_index(file)

    @rule()
    def compact(self) -> None:
        self.writer.compact(threads=1)

    @rule(number=st.integers(0, 1), is_asked=st.booleans())
    def refresh(self, number: int, is_asked: bool) -> None:
        before = self.readers[number]
        if is_asked:  # what it has worked out is carried on
            before.matching(WHERE)
            _ = before.keys, [key in before for key in (1, 2, 3)]
            if len(before):
                before.facts(before.keys[:2])
        self.older = [*self.older[-2:], (before, before.keys.tolist(), before.vectors)]
        after = self.readers[number] = before.refreshed()
        assert after.refreshed() is after
        shared = {table.table for table in before.all_rows.tables} & set(after.manifest.shards)
        for table in before.all_rows.tables:
            assert table.table not in shared or table in after.all_rows.tables
        assert (after.index is before.index) == (after.manifest.index == before.manifest.index)
        self.check(after)

    @invariant()
    def older_readers_read_on(self) -> None:
        for gallery, keys, vectors in getattr(self, "older", []):
            assert gallery.keys.tolist() == keys
            np.testing.assert_array_equal(gallery.vectors, vectors)

    def check(self, gallery: VectorGallery) -> None:
        """What a caller gets, against the dict."""
        held, keys = self.held, gallery.keys.tolist()
        assert keys == list(held)
        assert [key in gallery for key in (*range(15), -1, 2**40, 99, 2**80, "1")] == [
            key in held for key in (*range(15), -1, 2**40, 99, 2**80, "1")
        ]
        assert gallery.facts(gallery.keys) == [each for each, _, _ in held.values()]
        assert gallery.rows_of(gallery.keys).tolist() == list(range(len(held)))
        passing = [each.label == "a" or (each.columns["year"] or 0) > 1 for each, _, _ in held.values()]
        assert gallery.matching(WHERE).tolist() == passing
        if not held:
            return
        vectors = np.array([each for _, each, _ in held.values()], np.float32)
        np.testing.assert_array_equal(gallery.vectors_of(gallery.keys), vectors)
        found = gallery.search(vectors[:3] + 1, k=len(held), exact=True)
        for query, distances in zip(vectors[:3] + 1, found.distances, strict=True):
            assert distances.tolist() == reference(held, query)
        near = gallery.search(vectors[:3], k=1).keys[:, 0]
        assert all((held[int(key)][1] == own).all() for key, own in zip(near, vectors[:3], strict=True))
        assert gallery.keypoints is not None
        expected = [described(np.full((8, 8), (seed + key) % 4, np.uint8)) for key, (_, _, seed) in held.items()]
        stored = gallery.keypoints.keypoints(gallery.rows_with(gallery.keys))
        for one, other in zip(joined([stored]), joined(expected), strict=True):
            np.testing.assert_array_equal(one, other)

    def teardown(self) -> None:
        if not hasattr(self, "writer"):
            return
        with self.stack:
            for reader in self.readers:
                self.check(reader.refreshed())
            self.check(VectorGallery.open(self.path))
            assert verify(self.path) == []
            sizes = [shard.num_rows for shard in self.writer.manifest.shards]
            assert max(sizes, default=0) <= 6


Changes.TestCase.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestChanges = Changes.TestCase
