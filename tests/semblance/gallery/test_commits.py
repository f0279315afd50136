"""Puts and removals from many threads: acknowledged is durable, in the order of acceptance, each fails alone."""

from __future__ import annotations

import errno
import itertools
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import Closed, GalleryError, InputError, Overloaded
from semblance.gallery import shards
from semblance.gallery import writer as writer_module
from semblance.gallery.build import build
from semblance.gallery.commits import GroupCommits
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.index_options import IndexOptions
from semblance.gallery.index_update import IndexUpdate
from semblance.gallery.lock import LOCK_NAME
from semblance.gallery.maintenance import Thresholds
from semblance.gallery.manifest import Manifest
from semblance.gallery.rows import Rows
from semblance.gallery.shards import Row
from semblance.gallery.upkeep import remove
from semblance.gallery.verify import verify
from semblance.gallery.writer import GalleryWriter
from semblance.inputs.sources import ArraySource
from tests.semblance.gallery.conftest import BlockMeans, described, joined, pictures

SHA256 = "0" * 64
EAGER = Thresholds(merged_shards=4, younger_rows=5, dead_rows=20, dead_share=0.3)
IDLE = Thresholds(merged_shards=10**6, younger_rows=10**6, dead_rows=10**6)  # nothing is done


def row(key: int, **fields: Any) -> Row:
    return replace(Row(key, f"{key}.jpg", SHA256, 9, 9, "new"), **fields)


def vector(seed: int, dimension: int = 16) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(dimension, dtype=np.float32)


@contextmanager
def held_up(commits: GroupCommits) -> Iterator[None]:
    """What comes in the body goes into one group: the writing thread waits in a commit before it."""
    goes_on, is_waiting, before = threading.Event(), threading.Event(), commits.on_commit

    def wait(num_operations: int, seconds: float) -> None:
        if num_operations:
            is_waiting.set()
            assert goes_on.wait(20)
        if before is not None:
            before(num_operations, seconds)

    commits.on_commit = wait
    commits.put(row(10**6), vector(0))
    assert is_waiting.wait(20)
    commits.on_commit = before
    try:
        yield
    finally:
        goes_on.set()


def answers(futures: list[Future[bool]]) -> list[Any]:
    """The result of each, or the class of its exception."""
    found: list[Any] = []
    for future in futures:
        try:
            found.append(future.result(20))
        except (InputError, GalleryError, Closed, CancelledError) as error:
            found.append(type(error))
    return found


# One after the other ----------------------------------------------------------------------------------------------


def test_an_answer_says_whether_the_key_was_there(gallery_path: Path) -> None:
    with GroupCommits(gallery_path) as commits:
        assert commits.put(row(7), vector(7)).result() is False
        assert commits.put(row(1000, label=None, uri="ü.png"), vector(1000)).result() is True
        assert commits.remove(8).result() is True
        assert commits.remove(8).result() is False
        assert commits.remove(np.int64(-5)).result() is False  # type: ignore[arg-type]
    gallery = VectorGallery.open(gallery_path)
    np.testing.assert_array_equal(gallery.vectors_of(np.array([1000, 7])), [vector(1000), vector(7)])
    assert gallery.facts(np.array([1000])) == [Row(1000, "ü.png", SHA256, 9, 9)]
    assert (8 in gallery, len(gallery)) == (False, 300)
    assert verify(gallery_path) == []


def test_what_waits_together_is_one_commit_with_the_answers_of_many(gallery_path: Path) -> None:
    told: list[int] = []
    with GroupCommits(gallery_path, on_commit=lambda num, _: told.append(num), thresholds=IDLE) as commits:
        with held_up(commits):
            futures = [
                commits.put(row(1000), vector(1)), commits.put(row(1000, label="b"), vector(2)),
                commits.remove(1000), commits.remove(1000), commits.put(row(1000, label="c"), vector(3)),
                commits.put(row(2000), vector(4)), commits.remove(2000),
                commits.remove(5), commits.put(row(5), vector(5)), commits.remove(6), commits.remove(7777),
            ]  # fmt: skip
        assert answers(futures) == [True, False, True, False, True, True, True, True, True, True, False]
    assert told == [1, 11]
    gallery = VectorGallery.open(gallery_path)
    assert [key in gallery for key in (1000, 2000, 5, 6, 7777)] == [True, False, True, False, False]
    assert gallery.facts(np.array([1000]))[0].label == "c"
    np.testing.assert_array_equal(gallery.vectors_of(np.array([1000, 5])), [vector(3), vector(5)])


def test_the_caller_may_use_its_vector_again(gallery_path: Path) -> None:
    buffer = vector(1)
    with GroupCommits(gallery_path) as commits:
        with held_up(commits):
            future = commits.put(row(1000), buffer)
            buffer[:] = np.nan
        assert future.result()
    np.testing.assert_array_equal(VectorGallery.open(gallery_path).vectors_of(np.array([1000]))[0], vector(1))


def test_what_is_acknowledged_has_been_seen_by_on_commit(gallery_path: Path) -> None:
    views = [VectorGallery.open(gallery_path)]
    with GroupCommits(gallery_path, on_commit=lambda *_: views.append(views[-1].refreshed())) as commits:
        for key in range(1000, 1020):
            assert commits.put(row(key), vector(key)).result()
            assert key in views[-1]


def test_an_on_commit_that_fails_fails_nobody(gallery_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(num_operations: int, seconds: float) -> None:
        raise RuntimeError("no view")

    with GroupCommits(gallery_path, on_commit=fail) as commits:
        assert answers([commits.put(row(key), vector(key)) for key in (1000, 1001)]) == [True, True]
    assert "no view" in caplog.text


# What is refused --------------------------------------------------------------------------------------------------


def test_what_the_gallery_cannot_hold_fails_alone(gallery_path: Path) -> None:
    wrong: list[tuple[Any, Any]] = [
        (row(1001), vector(1) * np.float32(np.nan)),
        (row(1002), vector(1) * 0),
        (row(1003), vector(1, 15)),
        (row(1004), vector(1).astype(np.float64)),
        (row(1005), [1.0] * 16),
        (row(1006), vector(1)[None]),
        (row(1007, columns={"year": 1}), vector(1)),
        (row(True), vector(1)),
        (row(2**63), vector(1)),
        (row(1008, sha256="x"), vector(1)),
        (row(1009, label=3), vector(1)),
    ]
    told: list[int] = []
    with GroupCommits(gallery_path, on_commit=lambda num, _: told.append(num), thresholds=IDLE) as commits:
        with held_up(commits):
            good = [commits.put(row(5000), vector(5000))]
            bad = [commits.put(*each) for each in wrong] + [commits.remove(key) for key in (2.5, "7", 2**64)]  # type: ignore[arg-type]
            good.append(commits.put(row(5001), vector(5001)))
            no_keypoints = commits.put(row(5002), vector(1), described(np.full(64, 2, np.uint8)))
        assert answers(good) == [True, True]
        assert answers([*bad[:5], *bad[6:]]) == [InputError] * (len(bad) - 1)
        with pytest.raises(InputError, match="keeps no keypoints"):
            no_keypoints.result()
        with pytest.raises(InputError, match=r"1001\.jpg: its embedding is not finite"):
            bad[0].result()
    assert told == [1, len(bad) + 3]
    assert verify(gallery_path) == []


def test_what_only_the_commit_finds_out_fails_alone(tmp_path: Path) -> None:
    """The first rows after everything was removed build an index, whose number type may not hold one of them."""
    encoder = BlockMeans(card=replace(BlockMeans().card, metric="l2sq"))
    build(ArraySource(pictures(3)), encoder, tmp_path / "g", index=IndexOptions(dtype="f16"))
    remove(tmp_path / "g", [0, 1, 2])
    with GalleryWriter.open(tmp_path / "g") as writer:
        writer.compact(threads=1)
        assert writer.manifest.index is None
    with GroupCommits(tmp_path / "g", thresholds=IDLE) as commits:
        commits.remove(0).result()
        first = [commits.put(row(key), vector(key) * np.float32(size)) for key, size in ((1, 1e6), (2, 1), (3, 1))]
        assert answers(first) == [InputError, True, True]
    gallery = VectorGallery.open(tmp_path / "g")
    assert gallery.keys.tolist() == [2, 3]
    assert gallery.index is not None
    assert verify(tmp_path / "g") == []


def test_the_first_picture_of_all_decides_the_columns(tmp_path: Path) -> None:
    build(ArraySource(pictures(1)), BlockMeans(), tmp_path / "g")
    remove(tmp_path / "g", [0])
    with GalleryWriter.open(tmp_path / "g") as writer:
        writer.compact(threads=1)
        replace(writer.manifest, columns=None).write(tmp_path / "g")
    with GroupCommits(tmp_path / "g") as commits:
        years = [commits.put(row(key, columns={"year": year}), vector(key)) for key, year in enumerate([7, "x", 8])]
        assert answers(years) == [True, InputError, True]
    assert [each.columns for each in VectorGallery.open(tmp_path / "g").facts(np.array([0, 2]))] == [
        {"year": 7}, {"year": 8},
    ]  # fmt: skip


def test_more_than_may_wait_are_refused_at_once(gallery_path: Path) -> None:
    with GroupCommits(gallery_path, max_pending=3) as commits:
        with held_up(commits):
            futures = [commits.remove(key) for key in (1, 2)]
            assert commits.num_pending == 3
            with pytest.raises(Overloaded, match="3 changes are pending"):
                commits.put(row(1000), vector(1))
        assert answers(futures) == [True, True]
        assert commits.put(row(1000), vector(1)).result()
    assert commits.num_pending == 0


def test_what_is_cancelled_before_its_turn_is_skipped(gallery_path: Path) -> None:
    with GroupCommits(gallery_path) as commits:
        with held_up(commits):
            futures = [commits.put(row(key), vector(key)) for key in (1000, 1001)]
            assert futures[0].cancel()
        assert answers(futures) == [CancelledError, True]
    gallery = VectorGallery.open(gallery_path)
    assert (1000 in gallery, 1001 in gallery) == (False, True)


# Begin and end ----------------------------------------------------------------------------------------------------


def test_the_lock_is_held_from_start_to_stop(gallery_path: Path) -> None:
    commits = GroupCommits(gallery_path)
    with pytest.raises(Closed, match="was not started"):
        commits.remove(1)
    commits.start()
    with pytest.raises(GalleryError, match="is being written by process"), GalleryWriter.open(gallery_path):
        pass
    with pytest.raises(GalleryError, match="is being written by process"):
        GroupCommits(gallery_path).start()
    commits.stop()
    commits.stop()
    assert not (gallery_path / LOCK_NAME).exists()
    with pytest.raises(Closed, match="was stopped"):
        commits.put(row(1), vector(1))
    with pytest.raises(Closed, match="starts once"):
        commits.start()
    with GroupCommits(gallery_path) as others:
        assert others.remove(1).result()
    GroupCommits(gallery_path).stop()  # of one that never began


def test_stop_commits_what_is_pending(gallery_path: Path) -> None:
    with GroupCommits(gallery_path) as commits, held_up(commits):
        futures = [commits.put(row(key), vector(key)) for key in range(1000, 1250)]  # more than one shard
        threading.Timer(0.1, commits.stop).start()
        time.sleep(0.2)
    assert answers(futures) == [True] * 250
    assert VectorGallery.open(gallery_path).keys[-250:].tolist() == list(range(1000, 1250))


def test_what_has_not_begun_after_drain_s_ends_with_closed(gallery_path: Path) -> None:
    commits = GroupCommits(gallery_path).start()
    with held_up(commits):
        futures = [commits.put(row(key), vector(key)) for key in (1000, 1001)]
        stopping = threading.Thread(target=commits.stop, args=(0.05,))
        stopping.start()
        assert answers(futures) == [Closed, Closed]
    stopping.join()
    assert not (gallery_path / LOCK_NAME).exists()
    assert 10**6 in VectorGallery.open(gallery_path)


def test_an_unfinished_gallery_is_not_begun(gallery_path: Path) -> None:
    manifest = Manifest.read(gallery_path)
    replace(manifest, parts=(replace(manifest.parts[0], is_complete=False),)).write(gallery_path)
    with pytest.raises(GalleryError, match="is unfinished"):
        GroupCommits(gallery_path).start()
    assert not (gallery_path / LOCK_NAME).exists()


# Failures ---------------------------------------------------------------------------------------------------------


def full_disk(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["shard", "removed", "manifest", "after the manifest", "reading"])
def test_a_full_disk_fails_its_group_only(gallery_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    write = Manifest.write

    def written_and_then_failed(self: Manifest, gallery: Path) -> None:
        write(self, gallery)
        full_disk()

    failures: dict[str, tuple[Any, str, Any]] = {
        "shard": (shards, "_write", full_disk),
        "removed": (writer_module, "write_removed", full_disk),
        "manifest": (Manifest, "write", full_disk),
        "after the manifest": (Manifest, "write", written_and_then_failed),
        "reading": (Rows, "open", full_disk),
    }
    with GroupCommits(gallery_path, thresholds=IDLE) as commits:
        assert commits.put(row(1000), vector(1000)).result()
        with monkeypatch.context() as patch:
            with held_up(commits):
                patch.setattr(*failures[where])
                failing = [commits.put(row(7, label="lost"), vector(7)), commits.remove(8)]
            assert answers(failing) == [GalleryError, GalleryError]
        is_there = where in ("after the manifest", "reading")  # nobody can say, until the disk is read again
        assert commits.put(row(1001), vector(1001)).result()
        assert commits.put(row(7), vector(70)).result() is False
        assert commits.remove(8).result() is not is_there
        gallery = VectorGallery.open(gallery_path)
        assert [key in gallery for key in (1000, 1001, 7, 8)] == [True, True, True, False]
        np.testing.assert_array_equal(gallery.vectors_of(np.array([7]))[0], vector(70))
    assert verify(gallery_path) == []


def test_a_failure_of_upkeep_is_put_off(
    gallery_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(GalleryWriter, "merge", full_disk)
    monkeypatch.setattr("semblance.gallery.index_update.IndexUpdate.saved", full_disk)
    with GroupCommits(gallery_path, thresholds=EAGER) as commits:
        for key in range(1000, 1040):
            assert commits.put(row(key), vector(key)).result()
    assert caplog.text.count("is put off") == 1
    assert VectorGallery.open(gallery_path).keys[-40:].tolist() == list(range(1000, 1040))
    assert verify(gallery_path) == []


# Upkeep -----------------------------------------------------------------------------------------------------------


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(400):
        if is_so():
            return
        time.sleep(0.025)
    raise AssertionError("it did not come to that")


def test_small_shards_are_joined_and_the_index_keeps_up(gallery_path: Path) -> None:
    thresholds = Thresholds(merged_shards=4, younger_rows=10, younger_share=0)
    with GroupCommits(gallery_path, thresholds=thresholds) as commits:
        for key in range(1000, 1060):
            commits.put(row(key), vector(key)).result()
            commits.remove(key - 1000).result()
        until(lambda: Manifest.read(gallery_path).index.num_rows > 350)  # type: ignore[union-attr]
        until(lambda: len(Manifest.read(gallery_path).shards) < 15)
    gallery = VectorGallery.open(gallery_path)
    assert sorted(gallery.keys.tolist()) == [*range(60, 300), *range(1000, 1060)]
    assert gallery.search(gallery.vectors, k=1).keys[:, 0].tolist() == gallery.keys.tolist()
    assert verify(gallery_path) == []


def test_a_gallery_of_mostly_dead_rows_is_compacted(gallery_path: Path) -> None:
    with GroupCommits(gallery_path, thresholds=Thresholds(dead_rows=10, younger_rows=3, younger_share=0)) as commits:
        for key in range(160):
            commits.remove(key).result()
        until(lambda: Manifest.read(gallery_path).num_rows < 200)
        assert commits.put(row(1), vector(1)).result()
    assert VectorGallery.open(gallery_path).keys.tolist() == [*range(160, 300), 1]
    assert verify(gallery_path) == []


def test_puts_go_on_while_an_index_is_made(gallery_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, is_building, updated = threading.Event(), threading.Event(), IndexUpdate.updated

    def slow(self: IndexUpdate, *given: Any, **options: Any) -> Any:
        is_building.set()
        assert goes_on.wait(20)
        return updated(self, *given, **options)

    monkeypatch.setattr(IndexUpdate, "updated", slow)
    with GroupCommits(gallery_path, thresholds=Thresholds(younger_rows=3, younger_share=0)) as commits:
        for key in range(1000, 1004):
            commits.put(row(key), vector(key)).result()
        assert is_building.wait(20)
        for key in range(1004, 1008):
            assert commits.put(row(key), vector(key)).result()
        assert commits.remove(1000).result()
        generation = Manifest.read(gallery_path).index
        assert generation is not None
        goes_on.set()
        until(lambda: Manifest.read(gallery_path).index.generation > generation.generation)  # type: ignore[union-attr]
    gallery = VectorGallery.open(gallery_path)
    assert gallery.search(gallery.vectors, k=1).keys[:, 0].tolist() == gallery.keys.tolist()
    assert verify(gallery_path) == []


def test_an_index_that_is_not_done_at_the_end_writes_nothing_any_more(
    gallery_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_building, is_over, updated = threading.Event(), threading.Event(), IndexUpdate.updated

    def slow(self: IndexUpdate, *given: Any, **options: Any) -> Any:
        is_building.set()
        time.sleep(0.3)  # until it is abandoned
        try:
            return updated(self, *given, **options)
        finally:
            is_over.set()

    monkeypatch.setattr(IndexUpdate, "updated", slow)
    with GroupCommits(gallery_path, thresholds=Thresholds(younger_rows=3, younger_share=0)) as commits:
        for key in range(1000, 1005):
            commits.put(row(key), vector(key)).result()
        assert is_building.wait(20)
    assert is_over.is_set()
    manifest = Manifest.read(gallery_path)
    assert manifest.index is not None
    assert [path.name for path in (gallery_path / "index").iterdir()] == [Path(manifest.index.file).name]
    assert verify(gallery_path) == []


# Against a dict ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_many_threads_against_a_dict(sift_path: Path, seed: int) -> None:
    """Each thread has keys of its own, so that the order of its operations is known; all upkeep goes on meanwhile."""
    view = [VectorGallery.open(sift_path)]
    held: list[dict[int, tuple[str, int]]] = [{} for _ in range(4)]
    failures: list[BaseException] = []

    def change(number: int, commits: GroupCommits) -> None:
        rng, mine = random.Random(seed * 10 + number), held[number]
        try:
            for turn in range(60):
                pending: list[tuple[Future[bool], bool]] = []
                for _ in range(rng.randrange(1, 5)):
                    key = rng.randrange(12) * 4 + number + 1000
                    if rng.random() < 0.7:
                        put = commits.put(
                            row(key, label=f"{key}:{turn}"), vector(turn), described(np.full(64, turn % 4, np.uint8))
                        )
                        pending.append((put, key not in mine))
                        mine[key] = (f"{key}:{turn}", turn)
                    else:
                        pending.append((commits.remove(key), mine.pop(key, None) is not None))
                assert [future.result(30) for future, _ in pending] == [expected for _, expected in pending]
                now = view[0]
                assert {key: each.label for key in mine for each in now.facts(np.array([key]))} == {
                    key: label for key, (label, _) in mine.items()
                }
        except BaseException as error:
            failures.append(error)

    def refresh(*_: Any) -> None:
        view[0] = view[0].refreshed()

    with GroupCommits(sift_path, thresholds=EAGER, on_commit=refresh) as commits:
        threads = [threading.Thread(target=change, args=(number, commits)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    together = {key: each for mine in held for key, each in mine.items()}
    gallery = VectorGallery.open(sift_path)
    for now in (gallery, view[0].refreshed()):
        assert sorted(now.keys.tolist()) == sorted([*range(300), *together])
        keys = np.array(list(together))
        assert [each.label for each in now.facts(keys)] == [label for label, _ in together.values()]
        np.testing.assert_array_equal(now.vectors_of(keys), [vector(turn) for _, turn in together.values()])
        assert now.keypoints is not None
        expected = joined([described(np.full(64, turn % 4, np.uint8)) for _, turn in together.values()])
        for one, other in zip(joined([now.keypoints.keypoints(now.rows_with(keys))]), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    found = gallery.search(gallery.vectors[:5], k=len(gallery), exact=True)
    np.testing.assert_array_equal(np.sort(found.keys[0]), np.sort(gallery.keys))
    assert verify(sift_path) == []


# Other processes --------------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
import numpy as np
from semblance.gallery.commits import GroupCommits
from semblance.gallery.maintenance import Thresholds
from semblance.gallery.rows import Rows
from semblance.gallery.shards import Row

start, thresholds = int(sys.argv[2]), Thresholds(merged_shards=4, younger_rows=20, younger_share=0, dead_rows=30)
with GroupCommits(Path(sys.argv[1]), thresholds=thresholds) as commits:
    print("ready", flush=True)
    for turn in range(start, 10**9):
        futures = []
        for key in range(turn % 7 + 1):
            vector = np.full(16, turn, np.float32)
            vector[0] = 1000 + key
            row = Row(1000 + key, f"{key}.jpg", "0" * 64, 9, 9, f"{1000 + key}:{turn}")
            futures.append(commits.put(row, vector))
        futures.append(commits.remove(1000 + turn % 5) if turn % 3 == 0 else commits.remove(-1))
        print(f"begun {turn}", flush=True)
        for future in futures:
            future.result()
        print(f"acknowledged {turn}", flush=True)
"""


def plain_state(turn: int) -> dict[int, int]:
    """By which turn each key was written last, after all turns up to `turn`."""
    found: dict[int, int] = {}
    for each in range(max(0, turn - 40), turn + 1):
        found |= {1000 + key: each for key in range(each % 7 + 1)}
        if each % 3 == 0:
            found.pop(1000 + each % 5, None)
    return found


def test_what_was_acknowledged_survives_a_kill(gallery_path: Path) -> None:
    """A group is whole or not there: after a kill the gallery is as after the last turn, or part of the next one."""
    rng, turn, turns = random.Random(0), 0, 0
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(gallery_path), str(turn)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        threading.Timer(rng.uniform(0.01, 0.4), child.kill).start()
        lines = child.stdout.read().split("\n")
        child.wait()
        child.stdout.close()
        done = [int(line.split()[1]) for line in lines if line.startswith("acknowledged")]
        begun = [int(line.split()[1]) for line in lines if line.startswith("begun")]
        turns += len(done)
        last = done[-1] if done else turn - 1
        possible = [plain_state(last)] if last >= 0 else [{}]
        # what was begun and not acknowledged may be there, operation by operation in their order
        possible += [partly for at in range(last + 1, last + 3) for partly in partial_states(at)]
        gallery = VectorGallery.open(gallery_path)
        keys = gallery.keys[gallery.keys >= 1000]
        held = {each.key: int(str(each.label).split(":")[1]) for each in gallery.facts(keys)}
        assert held in possible, (last, begun[-1:], held)
        for key, vector in zip(keys.tolist(), gallery.vectors_of(keys), strict=True):
            assert vector.tolist() == [key, *[held[key]] * 15]
        assert verify(gallery_path) == []
        turn = last + 1
        # the next child begins from a known state
        with GalleryWriter.open(gallery_path) as writer:
            state = plain_state(last) if last >= 0 else {}
            rows = [row(key, label=f"{key}:{each}") for key, each in state.items()]
            vectors = np.array([[key, *[each] * 15] for key, each in state.items()], np.float32).reshape(-1, 16)
            writer.change(rows, vectors, removed_keys=[key for key in held if key not in state])
    assert turns > 12


def partial_states(turn: int) -> Iterator[dict[int, int]]:
    """After each operation of a turn."""
    found = plain_state(turn - 1) if turn > 0 else {}
    for key in range(turn % 7 + 1):
        found = {**found, 1000 + key: turn}
        yield found
    if turn % 3 == 0:
        found = {key: each for key, each in found.items() if key != 1000 + turn % 5}
    yield found


READER = """
import sys, time
from pathlib import Path
from semblance.gallery.gallery import VectorGallery

gallery = VectorGallery.open(Path(sys.argv[1]))
print("ready", flush=True)
for key in range(1000, 1010):
    while key not in gallery:
        time.sleep(0.005)
        gallery = gallery.refreshed()
    print(key, time.time(), flush=True)
"""


def test_another_process_sees_a_put_within_a_second(gallery_path: Path) -> None:
    with GroupCommits(gallery_path, thresholds=EAGER) as commits:
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(gallery_path)], stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        for key in itertools.count(1000):
            commits.put(row(key), vector(key)).result()
            acknowledged = time.time()
            if not (line := reader.stdout.readline()):
                break
            assert int(line.split()[0]) == key
            assert float(line.split()[1]) - acknowledged < 1
        reader.wait()
        reader.stdout.close()
    assert key == 1010
