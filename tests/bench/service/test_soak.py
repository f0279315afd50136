"""Seconds of a soak with a kill in the middle: what must be right is right, and lies are noticed. No time counts."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

from bench.service.soak import Asked, soak

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc"),
    pytest.mark.usefixtures("fashion_mnist_dir"),
]


def asked(seconds: float, **fields: Any) -> Asked:
    return Asked(
        model="siamese", seconds=seconds, capacity_s=0.5, num_pictures=180, max_pending_images=8, most_per_s=250.0,
        num_dripping=4, drip_interval_s=0.1, writes_per_s=15.0, searches_per_s=10.0, settled_s=1.0,
        header_timeout_s=0.5, body_timeout_s=0.7, **fields,
    )  # fmt: skip


def wrong(found: dict[str, Any], sort: str = "right") -> list[str]:
    return [
        f"{each['asked']}: {each['found']}" for each in found["checks"] if each["sort"] == sort and not each["holds"]
    ]


def lied(kind: str, **fields: Any) -> dict[str, Any]:
    command = (sys.executable, "-m", "bench.service.lies", kind)
    return soak(replace(asked(3.0), is_killed=False, command=command, **fields))


def test_all_that_must_be_right_is_right_with_a_kill_in_the_middle() -> None:
    found = soak(asked(8.0))
    assert wrong(found) == []
    figures = found["figures"]
    assert figures["num_acknowledged_writes"] > 20
    assert figures["num_hung_up"] > 10
    assert figures["num_dripped"] > 2
    assert figures["outage_s"] > 0
    assert sum(figures["failures_in_outage"].values()) > 0
    assert len(figures["memory"]) == 2
    assert {"good", "bad", "empty", "put", "delete", "search", "facts"} <= set(figures["statuses"])


def test_answers_with_the_vectors_of_others_are_found() -> None:
    assert any(each.startswith("no wrong embedding") for each in wrong(lied("swaps")))


def test_a_lost_write_is_found() -> None:
    problems = wrong(lied("loses"))
    assert any(
        each.startswith("at the end every acknowledged write is there") and "is lost" in each for each in problems
    )


def test_requests_counted_that_nobody_made_are_found() -> None:
    assert any(each.startswith("/metrics adds up") for each in wrong(lied("miscounts")))


def test_errors_are_found() -> None:
    problems = wrong(lied("breaks"))
    assert any(each.startswith("no 5xx") for each in problems)


def test_late_refusals_are_found() -> None:
    found = lied("dawdles", max_pending_images=1)  # so that there are some
    assert found["figures"]["refused_from_sent"]["p50_ms"] > 50
    assert any("429 within" in each for each in wrong(found, "time"))
