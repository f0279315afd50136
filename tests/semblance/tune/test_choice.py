"""Which row wins, on figures that were made up."""

from __future__ import annotations

from itertools import permutations

import pytest

from semblance.tune.choice import Row, best_in_bulk, finalists, soonest, within
from tests.semblance.tune.made_up import FP32, INT8, row


def failed(note: str = "cannot run") -> Row:
    return Row(variant=FP32, backend="cuda", note=note)


def test_most_images_per_second_win_in_any_order() -> None:
    rows = [row(100), row(300), row(200), failed()]
    for order in permutations(rows):
        assert best_in_bulk(order) is rows[1]


def test_of_nothing_nothing_is_chosen() -> None:
    coarse_only = row(100, is_final=False)
    for rows in ([], [failed()], [coarse_only], [failed(), coarse_only]):
        assert best_in_bulk(rows) is None
        assert soonest(rows) is None


@pytest.mark.parametrize(
    ("bound", "winner"), [(None, 300), (50.0, 300), (30.0, 300), (29.9, 200), (10.0, 200), (9.0, 100), (1.0, None)]
)
def test_the_bound_is_on_the_slowest_calls(bound: float | None, winner: int | None) -> None:
    rows = [row(300, p50_ms=1, tail_ms=30), row(200, p50_ms=9, tail_ms=10), row(100, p50_ms=0.5, tail_ms=2)]
    best = best_in_bulk(rows, max_latency_ms=bound)
    assert (best.speed.images_per_sec if best and best.speed else None) == winner


def test_an_unsteady_row_needs_more_than_ten_percent_over_a_steady_one() -> None:
    near, far = row(105, is_stable=False), row(120, is_stable=False)
    steady = row(100)
    assert best_in_bulk([near, steady]) is steady
    assert best_in_bulk([far, steady]) is far
    assert best_in_bulk([far, near]) is far, "among unsteady ones the fastest"
    # the fastest of the steady ones that are near, not any of them
    assert best_in_bulk([row(99), near, steady, row(98)]) is steady


def test_a_steady_row_beyond_the_bound_does_not_unseat_an_unsteady_one_within_it() -> None:
    unsteady, beyond = row(105, is_stable=False, tail_ms=2), row(104, tail_ms=20)
    assert best_in_bulk([unsteady, beyond], max_latency_ms=5) is unsteady


def test_equals_are_told_apart_by_tail_then_batch_streams_and_threads() -> None:
    ranked = [
        row(100, tail_ms=1, batch=64, streams=4, threads=4),
        row(100, tail_ms=2, batch=4, streams=4, threads=4),
        row(100, tail_ms=2, batch=8, streams=1, threads=4),
        row(100, tail_ms=2, batch=8, streams=2, threads=2),
        row(100, tail_ms=2, batch=8, streams=2, threads=4),
    ]
    for first in range(len(ranked)):
        for order in permutations(ranked[first:]):
            assert best_in_bulk(order) is ranked[first]


def test_soonest_is_the_shortest_median_of_one_image_alone() -> None:
    alone, shared = row(500, batch=1, p50_ms=2), row(900, batch=1, streams=2, p50_ms=1)
    many = row(9000, batch=32, p50_ms=0.1)
    assert soonest([alone, shared, many]) is alone
    unsteady = row(510, batch=1, p50_ms=1.9, is_stable=False)
    assert soonest([alone, unsteady]) is alone
    ahead = row(900, batch=1, p50_ms=1.0, is_stable=False)
    assert soonest([alone, unsteady, ahead]) is ahead
    assert soonest([many, shared]) is None


def test_within_leaves_out_what_did_not_run() -> None:
    rows = [row(1, tail_ms=1), failed(), row(2, tail_ms=3)]
    assert within(rows, None) == [rows[0], rows[2]]
    assert within(rows, 1.0) == [rows[0]]


def coarse(images_per_sec: float, **how: object) -> Row:
    return row(images_per_sec, is_final=False, **how)  # type: ignore[arg-type]  # those of `row`


def test_finalists_are_the_best_of_each_file_and_the_soonest() -> None:
    slow, fast, faster = (coarse(rate, batch=rate) for rate in (10, 100, 101))
    single = coarse(5, batch=1, p50_ms=0.1)
    int8 = coarse(300, variant=INT8, batch=16)
    assert finalists([slow, fast, failed(), single, int8, faster], each=2) == [int8, faster, single, fast]


def test_a_backend_that_one_window_cannot_rule_out_is_measured_again() -> None:
    cpu = [coarse(rate, batch=rate) for rate in (100, 101, 102)]
    near, far = coarse(90, backend="openvino"), coarse(60, backend="cuda")
    found = finalists([*cpu, near, far], each=2)
    assert [each.setting for each in found] == [cpu[2].setting, near.setting, cpu[1].setting]


def test_finalists_may_be_a_little_beyond_the_bound_and_are_never_none() -> None:
    a_little, much, far = (coarse(9 * tail, tail_ms=tail, batch=int(tail)) for tail in (11.0, 15.0, 40.0))
    assert finalists([much, a_little], max_latency_ms=10) == [a_little]
    assert finalists([far, much], max_latency_ms=10) == [much], "the nearest, so that it can be told"
    assert finalists([failed()], max_latency_ms=10) == []


def test_a_row_is_a_finalist_once() -> None:
    only = coarse(10, batch=1)
    assert finalists([only]) == [only]
