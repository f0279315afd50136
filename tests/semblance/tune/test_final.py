"""The final pass: turns, the end of the budget, failures, and groups that fit into memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from semblance.errors import BackendError
from semblance.tune import final
from semblance.tune.candidates import Variant
from semblance.tune.choice import Row
from semblance.tune.measuring import MOST_WINDOWS, Window
from tests.semblance.tune.made_up import FP32, row

CPU, OPENVINO = row(10, backend="cpu", is_final=False), row(20, backend="openvino", is_final=False)
Log = list[tuple[str, int]]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """(backend, batch) of each window, in order; cpu is steady at 100 images/s, openvino never is."""
    seen: Log = []

    class MadeUp:
        def __init__(self, variant: Variant, backend: str, threads: int, streams: int, max_batch: int) -> None:
            if backend == "cuda":
                raise BackendError("the driver is gone")
            self.backend, self.max_batch = backend, max_batch

        def warm(self, batch: int) -> None:
            assert batch <= self.max_batch

        def window(self, batch: int, seconds: float) -> Window:
            seen.append((self.backend, batch))
            if self.backend == "tensorrt" and len(seen) > 3:
                raise BackendError("out of memory")
            unsteady = self.backend == "openvino" and len(seen) % 4 < 2
            return Window(200.0 if unsteady else 100.0, (1.0,))

    monkeypatch.setattr(final, "Trial", MadeUp)
    monkeypatch.setattr(final, "weight_bytes", lambda variant, setting: 1)
    return seen


def measured(rows: list[Row], *, seconds: float = 60.0) -> tuple[list[Row], list[str]]:
    return final.measure_in_turns(rows, window_s=0.01, end=time.perf_counter() + seconds)


def test_windows_take_turns_until_each_is_steady_or_has_ten(log: Log) -> None:
    found, told = measured([CPU, OPENVINO])
    assert log[:6] == [("cpu", 8), ("openvino", 8)] * 3
    assert log[6:] == [("openvino", 8)] * (len(log) - 6)
    assert len(log) <= 3 + MOST_WINDOWS
    assert [each.is_final for each in found] == [True, True]
    assert found[0].speed
    assert (found[0].speed.images_per_sec, found[0].speed.is_stable) == (100.0, True)
    assert told == []


def test_settings_that_differ_in_batch_share_a_session(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []
    made_up: Callable[..., Any] = final.Trial

    def counted(*arguments: Any) -> Any:
        loaded.append(arguments[-1])
        return made_up(*arguments)

    monkeypatch.setattr(final, "Trial", counted)
    measured([row(10, batch=batch, is_final=False) for batch in (1, 32, 8)])
    assert loaded == [32]
    assert log[:3] == [("cpu", 1), ("cpu", 32), ("cpu", 8)]


def test_a_spent_budget_ends_windows_and_is_told(log: Log) -> None:
    found, told = measured([CPU, OPENVINO], seconds=-1.0)
    assert log == [("cpu", 8)], "the first has one window in any case"
    assert found[0].speed
    assert not found[0].speed.is_stable
    assert len(found) == 1
    assert len(told) == 2
    assert "1 of the best 2 candidates have one window only" in told[0]
    assert "before the windows of 1 of the best 1 agreed" in told[1]


def test_what_fails_is_a_row_with_its_cause_and_the_others_go_on(log: Log) -> None:
    broken, dying = (row(5, backend=backend, is_final=False) for backend in ("cuda", "tensorrt"))
    found, _ = measured([broken, dying, CPU])
    assert [(each.note, each.speed is None) for each in found] == [
        ("the driver is gone", True), ("out of memory", True), ("", False),
    ]  # fmt: skip


def test_what_does_not_fit_together_takes_turns_in_groups(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(final, "activation_bytes", lambda variant, setting: final._ROOM_BYTES // 2 - 1)
    rows = [row(10, batch=batch, is_final=False) for batch in (1, 2, 3)]
    found, told = measured(rows)
    assert log == [("cpu", 1), ("cpu", 2)] * 3 + [("cpu", 3)] * 3
    assert len(found) == 3
    assert "in 2 groups" in told[0]


def test_nothing_is_measured_of_nothing(log: Log) -> None:
    assert measured([]) == ([], [])


def test_a_note_of_the_file_stays(log: Log) -> None:
    noted = replace(CPU, variant=FP32, note="it did not pass")
    assert measured([noted])[0][0].note == "it did not pass"
