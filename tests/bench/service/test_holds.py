"""When a document says that what was asked holds: surely, and not where nothing was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.report.figures import Estimate, Interval
from bench.service.cost import MOST_MORE_MS, _figures
from bench.service.load import Seen
from bench.service.rude import Dripped
from bench.service.saturation import LEAST_RATIO, is_enough
from bench.service.soak_checks import Check, Run, all_hold, checks
from bench.service.soak_load import Soaked
from bench.service.watch import Watched
from bench.service.writes import Verified


def rounds(*medians_ms: float) -> list[list[float]]:
    return [[each / 1e3] * 3 for each in medians_ms]


@pytest.mark.parametrize("dearer", ["batcher", "encoder"])
def test_cost_holds_where_the_larger_difference_does(dearer: str) -> None:
    ways = {way: rounds(1.0, 1.0, 1.0) for way in ("batcher", "encoder")}
    ways["service"] = rounds(*[0.9 + MOST_MORE_MS] * 3)
    assert _figures(ways)["holds"]
    assert not _figures({**ways, dearer: rounds(0.5, 0.5, 0.5)})["holds"]
    assert not _figures({**ways, dearer: rounds(1.0, 1.0, 0.5)})["holds"]  # not surely


def test_saturation_holds_where_the_low_end_does() -> None:
    above, below = LEAST_RATIO + 0.01, LEAST_RATIO - 0.01
    assert is_enough(Estimate(above, None))
    assert is_enough(Estimate(above, Interval(above, above)))
    assert not is_enough(Estimate(above, Interval(below, above)))
    assert not is_enough(Estimate(below, None))


def test_what_was_not_measured_does_not_hold() -> None:
    well = Check("time", "x", "y", True)
    assert all_hold([well])
    assert not all_hold([well, replace(well, holds=False)])
    assert not all_hold([well, replace(well, holds=None)])


def seen(*statuses: int) -> Seen:
    num, times = len(statuses), np.ones(len(statuses))
    return Seen(
        kinds=["good"], kind=np.zeros(num, np.int16), num_images=np.ones(num, np.int32), due=times, sent=times,
        first=times, finished=times, status=np.array(statuses, np.int16), verdict=np.ones(num, np.int8),
        failure=np.zeros(num, np.int8), start=0.0, end=2.0, cpu_s=0.0,
    )  # fmt: skip


def run_of(*statuses: int, rate_per_s: float = 2.0, limits_s: dict[str, float], dripped: list[Dripped]) -> Run:
    verified = Verified(0.0, 1, 1, [], 0)
    return Run(
        capacity=seen(200, 200), soaked=Soaked(seen(*statuses), [], dripped, [], 1, 1), outage=None,
        verified=verified, asked_at_end=seen(200), lives=[Watched(0.0)], at_rest=[None, None], exit_status=0,
        rate_per_s=rate_per_s, settled_s=1.0, limits_s=limits_s,
    )  # fmt: skip


def unmeasured(run: Run) -> list[str]:
    return [each.asked.split()[0] for each in checks(run) if each.holds is None]


def test_what_was_switched_off_is_not_asked() -> None:
    limits_s, dripped = {"headers": 1.0}, [Dripped("headers", 0.0, 1.0, 408)]
    assert unmeasured(run_of(200, limits_s=limits_s, dripped=[])) == ["everything", "connections", "memory"]
    assert unmeasured(run_of(200, 429, limits_s=limits_s, dripped=dripped)) == ["memory"]
    # nobody was to drip, and no more than it can do was to be offered
    assert unmeasured(run_of(200, rate_per_s=0.5, limits_s={}, dripped=[])) == ["memory"]
