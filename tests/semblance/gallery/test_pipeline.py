"""Items to shards: each in its place whatever the number of threads, batches that end with shards, errors heard."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from semblance.card import ModelCard
from semblance.gallery.pipeline import Pipeline, Prepared, Shard, Times
from semblance.gallery.prepare import Known, Picture
from semblance.gallery.shards import ErrorRow, Row
from tests.semblance.gallery.conftest import CARD, described


@dataclass
class Means:
    """Each picture's mean, beside the size of the batch that it came in."""

    card: ModelCard = CARD
    max_batch: int = 4
    backend: str = "cpu"
    streams: int = 1
    sizes: list[int] = field(default_factory=list)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.sizes.append(len(images))
        found = np.zeros((len(images), 16), np.float32)
        found[:, 0] = images.mean(axis=(1, 2, 3))
        found[:, 1] = len(images)
        return found

    def release_memory(self) -> None: ...


def prepared(item: int) -> Prepared:
    """Every fifth item is unusable, every seventh known; the others are pictures of one colour."""
    if item % 5 == 4:
        return ErrorRow(item, f"{item}", "decode", "ImageError", "no")
    if item % 7 == 6:
        return Known(item)
    return Picture(Row(item, f"{item}", "0" * 64, 8, 8), np.full((8, 8, 1), item % 256, np.uint8))


def ran(
    items: Iterable[int], *, batch: int, shard_items: int, workers: int, streams: int = 1, **options: Any
) -> tuple[list[Shard], Means, Times]:
    shards: list[Shard] = []
    encoder, times = Means(streams=streams), Times()
    pipeline = Pipeline(
        encoder, options.pop("prepare", prepared), shards.append, batch=batch, shard_items=shard_items,
        workers=workers, times=times, **options,
    )  # fmt: skip
    pipeline.run(items)
    return shards, encoder, times


@settings(max_examples=60, deadline=None)
@given(
    num=st.integers(0, 60),
    batch=st.integers(1, 9),
    shard_items=st.integers(1, 25),
    workers=st.integers(0, 3),
    streams=st.integers(1, 3),
)
def test_shards_are_of_the_same_items_whatever_works_on_them(
    num: int, batch: int, shard_items: int, workers: int, streams: int
) -> None:
    heard: list[tuple[int, int]] = []
    shards, encoder, times = ran(
        range(num), batch=batch, shard_items=shard_items, workers=workers, streams=streams,
        watch=lambda done, errors, _: heard.append((done, errors)),
    )  # fmt: skip
    assert [shard.num_items for shard in shards] == [
        min(shard_items, num - start) for start in range(0, num, shard_items)
    ]
    sizes: list[int] = []
    for number, shard in enumerate(shards):
        mine = range(num)[number * shard_items : (number + 1) * shard_items]
        all_prepared = [prepared(item) for item in mine]
        pictures = [each for each in all_prepared if isinstance(each, Picture)]
        assert shard.rows == [each.row for each in pictures]
        assert shard.errors == [each for each in all_prepared if isinstance(each, ErrorRow)]
        vectors = np.concatenate(shard.vectors)
        assert vectors.shape == (len(pictures), 16)
        np.testing.assert_array_equal(vectors[:, 0], [each.row.key % 256 for each in pictures])
        # full batches but for the shard's last, so that a shard computed again meets the same ones
        mine_sizes = [min(batch, len(pictures) - start) for start in range(0, len(pictures), batch)]
        np.testing.assert_array_equal(vectors[:, 1], np.repeat(mine_sizes, mine_sizes))
        sizes += mine_sizes
    assert sorted(encoder.sizes) == sorted(sizes)
    assert (times.workers, times.streams) == (max(1, workers), streams)
    num_errors = sum(item % 5 == 4 for item in range(num))
    assert heard == sorted(heard)
    assert (heard[-1] if heard else (0, 0)) == (num, num_errors)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("where", ["items", "prepare", "encoder", "write", "watch"])
def test_what_any_stage_raises_is_raised_after_whole_shards_in_order(workers: int, streams: int, where: str) -> None:
    class Broken(Exception):
        pass

    before = set(threading.enumerate())

    def at(item: int) -> None:
        if item == 33:
            raise Broken

    def items() -> Iterable[int]:
        for item in range(100):
            if where == "items":
                at(item)
            yield item

    def prepare(item: int) -> Prepared:
        if where == "prepare":
            at(item)
        return Picture(Row(item, f"{item}", "0" * 64, 8, 8), np.full((8, 8, 1), item, np.uint8))

    encoder, written = Means(streams=streams), list[int]()
    run = encoder.run

    def breaking_run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        for item in images[:, 0, 0, 0].tolist():
            at(item)
        return run(images)

    def write(shard: Shard) -> None:
        if where == "write":
            at(33 if shard.rows[0].key == 30 else 0)
        written.append(len(shard.rows))

    if where == "encoder":
        encoder.run = breaking_run  # type: ignore[method-assign]
    pipeline = Pipeline(
        encoder, prepare, write, batch=5, shard_items=10, workers=workers, times=Times(),
        watch=lambda done, *_: at(33 if where == "watch" and done >= 35 else 0),
    )  # fmt: skip
    with pytest.raises(Broken):
        pipeline.run(items())
    if where in ("items", "prepare"):  # what was decoded ahead, or on its way through the encoder, goes with it
        assert written == [10] * len(written)
    else:
        assert written == [10, 10, 10]
    left = set(threading.enumerate()) - before  # other parts of the process may have threads that stay
    assert not [thread for thread in left if thread.name.startswith("semblance")]


def test_errors_are_heard_of_before_there_is_a_batch_of_good_pictures() -> None:
    """Whoever allows no unusable picture need not wait for a full batch."""

    class TooMany(Exception):
        pass

    taken: list[int] = []
    lasts: list[int | None] = []

    def items() -> Iterable[int]:
        for item in range(1000):
            taken.append(item)
            yield 4 + 5 * item  # unusable, each of them

    def watch(_: int, errors: int, last: ErrorRow | None) -> None:
        lasts.append(last.key if last else None)
        if errors > 2:
            raise TooMany

    with pytest.raises(TooMany):
        ran(items(), batch=500, shard_items=1000, workers=0, watch=watch)
    assert len(taken) == 3
    assert lasts == [4, 9, 14]


@pytest.mark.parametrize("stage", ["write", "encoder"])
def test_a_slow_stage_holds_the_others_back(stage: str) -> None:
    """However long the stream is, what waits between the stages is a few batches and shards."""
    taken, worst = 0, 0
    done = threading.Semaphore(0)

    def items() -> Iterable[int]:
        nonlocal taken
        for _ in range(4000):
            taken += 1
            yield 0

    encoder, num_through = Means(), 0
    run = encoder.run

    def slow_run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal num_through, worst
        if stage == "encoder":
            time.sleep(0.001)
            worst = max(worst, taken - num_through)
            num_through += len(images)
        return run(images)

    def write(shard: Shard) -> None:
        nonlocal num_through, worst
        if stage == "write":
            time.sleep(0.002)
            worst = max(worst, taken - num_through)
            num_through += shard.num_items
        done.release()

    encoder.run = slow_run  # type: ignore[method-assign]
    Pipeline(encoder, prepared, write, batch=20, shard_items=100, workers=2, times=Times()).run(items())
    assert taken == 4000
    # decoded ahead: 2 batches by chunks of 8, then those in inference; a shard is written, one waits, one is gathered
    ahead = 2 * 20 + 2 * 8 + 4 * 20
    assert worst <= ahead + (3 * 100 if stage == "write" else 0)


def test_heavy_items_do_not_pile_up_before_the_decoders() -> None:
    """As many bytes as the pipeline allows, and one item; not as many items as there is room for small ones."""
    weight, in_flight, worst = 2**24, 0, 0
    lock = threading.Lock()

    def items() -> Iterable[int]:
        nonlocal in_flight, worst
        for _ in range(60):
            with lock:
                in_flight += weight
                worst = max(worst, in_flight)
            yield 0

    def prepare(item: int) -> Prepared:
        nonlocal in_flight
        time.sleep(0.002)
        with lock:
            in_flight -= weight
        return prepared(item)

    shards, _, _ = ran(items(), batch=20, shard_items=60, workers=2, prepare=prepare, weigh=lambda _: weight)
    assert [len(shard.rows) for shard in shards] == [60]
    assert worst <= 2**26 + weight


def test_pixels_are_let_go_when_their_batch_is_embedded() -> None:
    """A shard is many batches: together their pictures would not fit into memory."""
    pictures: list[Picture] = []

    def prepare(item: int) -> Prepared:
        pictures.append(Picture(Row(item, "", "0" * 64, 8, 8), np.full((8, 8, 1), item, np.uint8)))
        return pictures[-1]

    ran(range(50), batch=8, shard_items=50, workers=0, prepare=prepare)
    assert {picture.pixels.size for picture in pictures} == {0}


def test_busy_seconds_add_up_over_threads() -> None:
    times = Times()

    def work(measure: Callable[[], None]) -> None:
        for _ in range(50):
            measure()

    def measure() -> None:
        with times.measured("decode"):
            time.sleep(0.0005)

    threads = [threading.Thread(target=work, args=(measure,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert times.busy["decode"] >= 4 * 50 * 0.0005
    with pytest.raises(ZeroDivisionError), times.measured("write"):
        raise ZeroDivisionError
    assert times.busy["write"] >= 0


@pytest.mark.parametrize("workers", [0, 2])
def test_keypoints_come_with_the_rows_of_their_pictures(workers: int) -> None:
    def prepare(item: int) -> Prepared:
        found = prepared(item)
        if isinstance(found, Picture):
            found.keypoints = described(found.pixels)
        return found

    shards, _, _ = ran(range(60), batch=4, shard_items=25, workers=workers, prepare=prepare)
    for shard in shards:
        wanted = [described(np.full((8, 8, 1), row.key % 256, np.uint8)) for row in shard.rows]
        assert [len(each) for each in shard.keypoints] == [len(each) for each in wanted]
        for found, other in zip(shard.keypoints, wanted, strict=True):
            np.testing.assert_array_equal(found.descriptors, other.descriptors)
    assert all(shard.keypoints == [] for shard in ran(range(60), batch=4, shard_items=25, workers=workers)[0])
