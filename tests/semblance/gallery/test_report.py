"""Where the time of a build went, and what is said of it in each case."""

from __future__ import annotations

import pytest

from semblance.gallery.pipeline import Times
from semblance.gallery.report import BuildReport, make_report


def report(total: float, workers: int = 2, streams: int = 1, num_taken: int = 100, **busy: float) -> BuildReport:
    times = Times(workers=workers, streams=streams, busy=busy)
    return make_report(
        times, num_images=90, num_errors=10, num_taken=num_taken, num_added=80, total_seconds=total
    )  # fmt: skip


def test_seconds_and_shares_are_of_the_stream_which_the_index_comes_after() -> None:
    found = report(10, workers=2, streams=3, decode=8, inference=12, write=1, index=2)
    assert found.seconds == {"decode": 8, "inference": 12, "write": 1, "index": 2, "total": 10}
    assert found.busy == {
        "decode": pytest.approx(8 / 2 / 8), "inference": pytest.approx(12 / 3 / 8), "write": pytest.approx(1 / 8),
    }  # fmt: skip
    assert (found.num_images, found.num_errors, found.num_taken, found.num_added) == (90, 10, 100, 80)
    assert found.images_per_sec == pytest.approx(10)


@pytest.mark.parametrize(
    ("total", "busy", "bound"),
    [
        (10, {"decode": 2, "inference": 9, "write": 1}, "inference"),
        (10, {"decode": 19, "inference": 9, "write": 9}, "inference"),  # all busy: the model sets the pace
        (10, {"decode": 2, "inference": 8, "write": 9}, "inference"),  # just busy enough
        (10, {"decode": 2, "inference": 7.9, "write": 9}, "write"),
        (10, {"decode": 19, "inference": 5, "write": 9}, "decode"),
        (10, {"decode": 10, "inference": 5, "write": 5}, "decode"),  # as busy as each other: threads cost nothing
        (10, {"decode": 3, "inference": 2, "write": 1}, "decode"),  # nothing is busy
        (10, {"decode": 1, "inference": 3.9, "write": 0, "index": 5.1}, "index"),
        (10, {"decode": 1, "inference": 4.9, "write": 0, "index": 5.0}, "inference"),
        (10, {"index": 10}, "index"),
        (10, {}, "decode"),
    ],
)
def test_the_slowest_stage_is_named_with_what_would_help(total: float, busy: dict[str, float], bound: str) -> None:
    said = report(total, **busy).advice
    assert said.startswith(f"{bound}-bound: ")
    helps = {
        "inference": ["smaller model", "narrower precision", "--backend cuda"],
        "write": ["waited for the disk", "--vector-type float16"],
        "decode": ["--workers", "--scaled-decode", "large JPEGs", "--threads"],
        "index": ["normal", "--deterministic", "--index-type"],
    }[bound]
    assert all(word in said for word in helps)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("total", "busy", "bound"),
    [
        (0.5, {"decode": 0.3, "inference": 0.2}, ""),  # starting and ending took longest
        (2, {"decode": 2.3, "inference": 1.19, "write": 1.19}, ""),
        (2, {"decode": 2.4}, "decode"),
        (2, {"write": 1.2}, "write"),
        (2, {"inference": 1.7}, "inference"),
        (2, {"index": 1.1}, ""),
        (2, {"index": 1.2}, "index"),
        (5, {"decode": 1}, "decode"),
    ],
)
def test_a_short_run_in_which_nothing_was_busy_advises_nothing(
    total: float, busy: dict[str, float], bound: str
) -> None:
    assert report(total, **busy).advice.partition("-bound")[0] == bound


def test_a_run_that_found_all_done_advises_nothing() -> None:
    found = report(0.1, num_taken=0)
    assert (found.advice, found.images_per_sec) == ("", 0)
    assert found.busy == {"decode": 0, "inference": 0, "write": 0}
    assert report(0.1, num_taken=0, index=0.09).advice == ""


def test_the_callers_own_thread_is_one_worker() -> None:
    assert report(10, workers=0, streams=0, decode=5, inference=5).busy == {"decode": 0.5, "inference": 0.5, "write": 0}


def test_a_stream_of_no_length_divides_by_nothing() -> None:
    assert report(1, index=1, num_taken=1).advice.startswith("index-bound")


def test_where_sift_is_what_takes_long_other_advice_helps() -> None:
    times = Times(workers=2, streams=1, busy={"decode": 19, "inference": 5, "write": 1})
    options = {"num_images": 9, "num_errors": 0, "num_taken": 9, "num_added": 9, "total_seconds": 10}
    plain, found = (make_report(times, has_keypoints=has, **options).advice for has in (False, True))
    assert "--scaled-decode" in plain
    assert found.startswith("decode-bound, most of it by SIFT: raise --workers; with a smaller --sift-longest-side")
