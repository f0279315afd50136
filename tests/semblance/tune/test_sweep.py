"""A whole sweep on the machine that runs the tests; which setting wins is the machine's affair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semblance.inference import backends, tuned
from semblance.inference.session import Session
from semblance.tune.options import SweepOptions
from semblance.tune.sweep import forget, keep, sweep
from tests.conftest import make_tiny_model

QUICK = SweepOptions(budget_s=8, window_s=0.01, max_batch=4)


@pytest.fixture(autouse=True)
def _own_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuned, "folder", lambda: tmp_path / "tuned")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """mine.onnx, with an int8 file that passed and a fp16 file that did not; all of them compute in float32."""
    make_tiny_model(tmp_path / "mine.int8.onnx", name="mine", precision="int8", gate={"passed": True})
    make_tiny_model(tmp_path / "mine.fp16.onnx", name="mine", precision="fp16", gate={"passed": False})
    return make_tiny_model(tmp_path / "mine.onnx").path


def test_everything_is_a_row_and_each_file_has_its_best(models: Path) -> None:
    said: list[str] = []
    found = sweep(models, QUICK, say=said.append)
    assert said
    assert found.best in found.by_file.values()
    assert {path.name for path in found.by_file} == {"mine.onnx", "mine.int8.onnx"}
    for backend in backends.names()[1:]:
        for name in ("mine", "mine.int8"):
            rows = [row for row in found.rows if row.backend == backend and row.variant.name == name]
            assert rows
            assert all(row.speed or row.note for row in rows)
    (left_out,) = [row for row in found.rows if row.variant.name == "mine.fp16"]
    assert "did not pass" in left_out.note
    assert found.soonest
    assert found.soonest.measured[0].batch == 1
    candidates = [(row.variant.path, row.setting) for row in found.rows if row.setting]
    assert len(candidates) == len(set(candidates)), "no candidate is told twice"


def test_ungated_takes_every_file(models: Path) -> None:
    found = sweep(models, SweepOptions(budget_s=8, window_s=0.01, max_batch=1, is_ungated=True, backends=("cpu",)))
    ran = {row.variant.name: row.note for row in found.rows if row.speed}
    assert ran.keys() == {"mine", "mine.int8", "mine.fp16"}
    assert "did not pass" in ran["mine.fp16"]


def test_what_is_kept_is_what_auto_takes_until_it_is_forgotten(models: Path) -> None:
    pytest.importorskip("openvino")
    found = sweep(models, SweepOptions(budget_s=8, window_s=0.01, max_batch=4, backends=("openvino",)))
    records = keep(found)
    assert len(records) == 2
    for path, row in found.by_file.items():
        setting, speed = row.measured
        session = Session(path, streams=None)
        assert session.backend == setting.backend == "openvino"
        assert (session.streams, session.max_batch) == (setting.streams, setting.batch)
        assert "the fastest that `semblance tune` measured here" in session.why
        record = tuned.find(path, session.card)
        assert record
        assert (record.threads, record.images_per_sec) == (setting.threads, speed.images_per_sec)
    assert sorted(forget(models)) == sorted(records)
    assert forget(models) == []
    assert Session(models).backend == "cpu"


def test_a_bound_that_nothing_keeps_to_leaves_no_best(models: Path) -> None:
    found = sweep(models, SweepOptions(budget_s=8, window_s=0.01, max_latency_ms=1e-6, backends=("cpu",)))
    assert found.best is None
    assert found.by_file == {}
    assert found.soonest, "it is not bounded"
    assert keep(found) == []


def test_where_nothing_runs_there_are_rows_and_no_best(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sweep(models, SweepOptions(budget_s=0.5, backends=("coreml",)))
    assert (found.best, found.soonest, found.by_file) == (None, None, {})
    assert all(row.note for row in found.rows)


def test_records_of_another_space_are_left_alone(models: Path, tmp_path: Path) -> None:
    other: Any = make_tiny_model(tmp_path / "mine.bf16.onnx", name="mine", precision="bf16", seed=1)
    record = tuned.Tuned(
        backend="openvino", threads=1, streams=1, max_batch=1, images_per_sec=1.0, latency_ms=1.0, when="2026-01-01"
    )
    tuned.keep(other.path, other.card, record)
    assert forget(models) == []
    assert tuned.find(other.path, other.card) == record
