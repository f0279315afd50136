"""A ratio of two times, where the times are known."""

from __future__ import annotations

import time

import numpy as np
import pytest

from export import speed
from export.speed import relative_speed


def test_twice_as_fast_is_two(monkeypatch):
    monkeypatch.setattr(speed, "_LEAST_SECONDS", 0.05)
    batch = np.zeros((1, 2, 2, 1), np.uint8)
    assert relative_speed(lambda part: time.sleep(0.01), lambda part: time.sleep(0.02), batch) == pytest.approx(
        2, rel=0.3
    )


def test_both_get_the_batch_and_take_turns(monkeypatch):
    monkeypatch.setattr(speed, "_LEAST_SECONDS", 0.0)
    seen: list[tuple[str, int]] = []
    relative_speed(
        lambda part: seen.append(("run", len(part))),
        lambda part: seen.append(("base", len(part))),
        np.zeros((7, 1), np.uint8),
    )
    assert seen == [("run", 7), ("base", 7)] * 4
