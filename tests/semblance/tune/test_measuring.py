"""Windows: when they agree, what they say together, and that every stream is at work."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from semblance.tune.measuring import (
    MOST_WINDOWS,
    Images,
    is_done,
    is_stable,
    measure_window,
    random_batches,
    speed_of,
    tail,
    warm,
)
from tests.semblance.tune.made_up import window


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([], False), ([100], False), ([100, 100], False), ([100, 100, 100], True), ([100, 105, 109], True),
        ([100, 109, 99], False), ([111, 105, 100], False), ([1, 100, 101, 102], True), ([100, 100, 100, 1], False),
        ([100, 100, 100, 50, 100, 100], False), ([100, 50, 100, 100, 100], True),
    ],
)  # fmt: skip
def test_the_last_three_windows_have_to_agree_in_throughput(rates: list[float], expected: bool) -> None:
    assert is_stable([window(rate) for rate in rates]) is expected


def test_and_in_latency() -> None:
    assert is_stable([window(100, 1.0, 1.05), window(100, 1.05), window(100, 1.0)])
    assert not is_stable([window(100, 1.0), window(100, 1.2), window(100, 1.0)])


def test_after_ten_windows_it_is_over() -> None:
    unsteady = [window(rate) for rate in [100, 200] * (MOST_WINDOWS // 2)]
    assert not is_done(unsteady[:-1])
    assert is_done(unsteady)
    assert is_done([window(100)] * 3)
    assert not speed_of(unsteady).is_stable


def test_a_speed_is_of_the_last_three_windows_alone() -> None:
    speed = speed_of([window(1, 900.0), window(100, 1.0, 2.0), window(110, 3.0), window(120, 4.0, 5.0)])
    assert speed.images_per_sec == pytest.approx(110)
    assert (speed.p50_ms, speed.tail_ms, speed.tail_name, speed.num_calls) == (3.0, 5.0, "max", 5)


@pytest.mark.parametrize(("num", "name", "value"), [(1, "max", 1), (19, "max", 19), (20, "p95", 20), (99, "p95", 95),
                                                    (100, "p99", 100), (1000, "p99", 991)])  # fmt: skip
def test_the_tail_is_as_far_out_as_so_many_calls_can_tell(num: int, name: str, value: float) -> None:
    found, told = tail(np.arange(1, num + 1, dtype=np.float64)[::-1])
    assert told == name
    assert found == pytest.approx(value, abs=1)
    assert found in range(1, num + 1), "one that was measured, not one between two"


def test_a_window_has_at_least_one_call_however_long_it_takes() -> None:
    (batch,) = random_batches(1, (4, 2, 2, 1))
    found = measure_window(lambda images: time.sleep(0.02), [batch], 0.001)
    assert len(found.latencies_ms) == 1
    assert found.latencies_ms[0] >= 20
    assert 0 < found.images_per_sec <= 4 / 0.02


def test_every_stream_has_a_thread_and_a_batch_of_its_own() -> None:
    batches = random_batches(3, (2, 2, 2, 1))
    meet = threading.Barrier(3, timeout=10)
    seen: dict[int, set[int]] = {}
    calls: list[int] = []

    def run(images: Images) -> None:
        if len(calls) < 3:
            calls.append(1)
            meet.wait()  # passes only where three are at it at the same time
        seen.setdefault(threading.get_ident(), set()).add(id(images))

    measure_window(run, batches, 0.001)
    assert len(seen) == 3
    assert sorted(each for ids in seen.values() for each in ids) == sorted(map(id, batches))


def test_rates_of_streams_add_up() -> None:
    batches = random_batches(2, (5, 2, 2, 1))
    found = measure_window(lambda images: time.sleep(0.01), batches, 0.05)
    seconds = sum(found.latencies_ms) / 1e3
    assert found.images_per_sec == pytest.approx(2 * 5 * len(found.latencies_ms) / seconds, rel=0.5)


def test_a_failure_in_a_stream_reaches_the_caller() -> None:
    def run(images: Images) -> None:
        raise ValueError("broken")

    for num in (1, 2):
        with pytest.raises(ValueError, match="broken"):
            measure_window(run, random_batches(num, (1, 1, 1, 1)), 0.01)


def test_warming_up_is_two_calls_in_every_stream() -> None:
    seen: list[int] = []
    warm(lambda images: seen.append(id(images)), batches := random_batches(2, (1, 1, 1, 1)))
    assert sorted(seen) == sorted([*map(id, batches)] * 2)


def test_batches_differ_and_are_the_same_each_time() -> None:
    first, second = random_batches(2, (3, 4, 5, 3))
    assert first.shape == (3, 4, 5, 3)
    assert first.dtype == np.uint8
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, random_batches(1, (3, 4, 5, 3))[0])
