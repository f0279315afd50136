"""Order, bounds, errors and early closing of work done ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semblance.inference.batches import in_batches, work_ahead


@given(st.lists(st.integers()), st.integers(1, 9))
def test_batches_are_full_but_the_last(items: list[int], size: int) -> None:
    batches = list(in_batches(items, size))
    assert [item for batch in batches for item in batch] == items
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        next(in_batches([1], 0))


@given(
    st.lists(st.integers(), max_size=60), st.integers(0, 4), st.integers(1, 7), st.one_of(st.none(), st.integers(1, 5))
)
def test_results_come_in_order(items: list[int], workers: int, chunk: int, ahead: int | None) -> None:
    results = work_ahead(items, lambda item: item * 2, workers=workers, chunk=chunk, ahead=ahead)
    assert list(results) == [item * 2 for item in items]


def test_order_holds_when_earlier_work_takes_longer() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return item

    assert list(work_ahead(range(20), slow_first, workers=4, chunk=1)) == list(range(20))


def test_never_reads_further_ahead_than_its_bound() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = work_ahead(items(), lambda item: item, workers=2, chunk=5, ahead=3)
    for consumed, _ in enumerate(results, 1):
        assert len(taken) <= consumed + 3 * 5


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("weights", [[5] * 40, [1, 30, 2] * 12, [0] * 30, [100, 100, 100, 1, 1, 1]])
def test_what_is_worked_on_never_weighs_more_than_its_bound_and_one_item(workers: int, weights: list[int]) -> None:
    lock, in_flight, worst = threading.Lock(), 0, 0

    def items() -> Iterator[int]:
        nonlocal in_flight, worst
        for weight in weights:
            with lock:
                in_flight += weight
                worst = max(worst, in_flight)
            yield weight

    def work(weight: int) -> int:
        nonlocal in_flight
        time.sleep(0.001)
        with lock:
            in_flight -= weight
        return weight

    results = work_ahead(
        items(), work, workers=workers, chunk=4, ahead=20, weigh=lambda weight: weight, most_weight=24
    )  # fmt: skip
    assert list(results) == weights
    assert worst <= 24 + max(weights)


def test_heavy_items_are_worked_on_side_by_side() -> None:
    """A chunk of them would keep one thread busy and leave nothing for the others."""
    together = threading.Barrier(3, timeout=10)
    results = work_ahead(
        range(6), lambda item: together.wait() >= 0 and item, workers=3, chunk=6, weigh=lambda _: 8, most_weight=24
    )  # fmt: skip
    assert list(results) == list(range(6))


@given(
    st.lists(st.integers(0, 9), max_size=60),
    st.integers(0, 4),
    st.integers(1, 7),
    st.integers(1, 5),
    st.integers(1, 40),
)
def test_weighed_results_come_in_order(items: list[int], workers: int, chunk: int, ahead: int, most: int) -> None:
    results = work_ahead(
        items, str, workers=workers, chunk=chunk, ahead=ahead, weigh=lambda item: item, most_weight=most
    )  # fmt: skip
    assert list(results) == [str(item) for item in items]


@pytest.mark.parametrize(("workers", "chunk"), [(0, 1), (2, 1), (2, 2), (2, 4), (3, 100)])
def test_an_exception_comes_in_its_place(workers: int, chunk: int) -> None:
    results = work_ahead(range(10), lambda item: 1 // (item - 7), workers=workers, chunk=chunk)
    assert [next(results) for _ in range(7)] == [1 // (item - 7) for item in range(7)]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_closing_early_leaves_no_thread_behind() -> None:
    results = work_ahead(range(1000), lambda item: item, workers=3, chunk=1)
    next(results)
    results.close()  # type: ignore[attr-defined]  # a generator, behind the Iterator it is typed as
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("semblance-ahead")]


@pytest.mark.parametrize(("workers", "chunk"), [(-1, 1), (1, 0)])
def test_impossible_options_are_refused(workers: int, chunk: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        next(work_ahead([1], str, workers=workers, chunk=chunk))
