"""The first pass: what is tried on which backend, what is pruned, and what becomes of what cannot run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from semblance.errors import BackendError
from semblance.inference import backends
from semblance.tune import coarse
from semblance.tune.candidates import Variant
from semblance.tune.coarse import CoarsePass
from semblance.tune.measuring import Window
from semblance.tune.options import SweepOptions
from tests.semblance.tune.made_up import FP32, INT8

MakePass = Callable[..., CoarsePass]
RATES = {"cpu": 1000.0, "openvino": 900.0}


@pytest.fixture
def make_pass(monkeypatch: pytest.MonkeyPatch) -> MakePass:
    """A pass on a machine of four threads, on which batches of 16 are the best and a window takes no time."""

    class MadeUp:
        def __init__(self, variant: Variant, backend: str, threads: int, streams: int, max_batch: int) -> None:
            if backend not in RATES:
                raise BackendError(f"there is no {backend} here")
            self.rate = RATES[backend] * threads

        def warm(self, batch: int) -> None:
            if batch == 64 and self.rate == RATES["openvino"] * 4:
                raise BackendError("out of memory")

        def window(self, batch: int, seconds: float) -> Window:
            return Window(self.rate / (1 + abs(batch - 16)), (1.0,))

    monkeypatch.setattr(coarse, "Trial", MadeUp)
    monkeypatch.setattr(coarse, "available_threads", lambda: 4)

    def make(*, budget_s: float = 60.0, **options: Any) -> CoarsePass:
        return CoarsePass(SweepOptions(budget_s=budget_s, **options), time.perf_counter() + budget_s, lambda text: None)

    return make


def ran(found: CoarsePass, backend: str) -> set[tuple[int, int, int]]:
    rows = [row for row in found.rows if row.backend == backend and row.setting and row.speed]
    return {(row.setting.batch, row.setting.threads, row.setting.streams) for row in rows if row.setting}


def test_batches_first_then_what_is_beside_the_best_with_other_threads_and_streams(make_pass: MakePass) -> None:
    found = make_pass(max_batch=64)
    found.run([FP32])
    batches = {(batch, 4, 1) for batch in (1, 4, 16, 64)}
    beside = {(8, 4, 1), (32, 4, 1)}
    threads = {(16, 4, 2), (16, 4, 4), (16, 2, 1), (16, 2, 2)}
    assert ran(found, "cpu") == batches | beside | threads


def test_every_backend_that_cannot_run_is_a_row_with_its_cause(make_pass: MakePass) -> None:
    found = make_pass()
    found.run([FP32, INT8])
    for variant in (FP32, INT8):
        for backend in backends.names()[1:]:
            rows = [row for row in found.rows if row.backend == backend and row.variant is variant]
            assert rows
            if backend not in RATES:
                assert [row.note for row in rows] == [f"there is no {backend} here"]
                assert rows[0].speed is None


def test_what_fails_at_one_batch_size_keeps_the_smaller_ones(make_pass: MakePass) -> None:
    found = make_pass(max_batch=64)
    found.run([FP32])
    failed = [row for row in found.rows if row.backend == "openvino" and row.speed is None]
    assert [(row.setting.batch, row.note) for row in failed if row.setting] == [(64, "out of memory")]
    assert (16, 4, 1) in ran(found, "openvino")


def test_a_hopeless_backend_is_not_looked_into_any_further_and_that_is_told(
    make_pass: MakePass, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RATES, "openvino", 100.0)
    found = make_pass(max_batch=16)
    found.run([FP32])
    assert {threads for _, threads, _ in ran(found, "openvino")} == {4}
    assert {threads for _, threads, _ in ran(found, "cpu")} == {4, 2}
    assert any("openvino is less than half as fast" in text for text in found.pruned)


def test_files_take_turns_so_that_none_is_left_to_the_end(make_pass: MakePass) -> None:
    found = make_pass(max_batch=16, backends=("cpu",))
    found.run([FP32, INT8])
    varied = [row.variant for row in found.rows if row.setting and (row.setting.threads, row.setting.streams) != (4, 1)]
    assert varied == [FP32, INT8] * 4


def test_only_the_backends_that_were_named(make_pass: MakePass) -> None:
    found = make_pass(backends=("openvino",))
    found.run([FP32])
    assert {row.backend for row in found.rows} == {"openvino"}


def test_on_a_device_batches_are_larger_and_streams_are_sessions(
    make_pass: MakePass, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RATES, "cuda", 5000.0)
    found = make_pass(backends=("cuda",))
    found.run([FP32])
    assert {(1, 1, 1), (16, 1, 1), (1024, 1, 1), (16, 1, 2)} < ran(found, "cuda")
    assert {threads for _, threads, _ in ran(found, "cuda")} == {1}


def test_a_spent_budget_is_told_of_everything_that_it_left_out(make_pass: MakePass) -> None:
    found = make_pass(budget_s=1e-9)
    found.run([FP32])
    assert {row.backend for row in found.rows} == set(backends.names()[1:])
    assert {row.note for row in found.rows} == {"not tried: the budget was spent"}
    assert len(found.pruned) == len(found.rows)


def test_larger_batches_that_would_take_too_long_are_left_out(
    make_pass: MakePass, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coarse.Trial, "window", lambda self, batch, seconds: Window(1 / 9, (9000.0 * batch,)))
    found = make_pass(backends=("cpu",))
    found.run([FP32])
    assert ran(found, "cpu") == {(1, 4, 1), (1, 4, 2), (1, 4, 4), (1, 2, 1), (1, 2, 2), (2, 4, 1)}
    assert any("batches from 4 on take too long" in text for text in found.pruned)
