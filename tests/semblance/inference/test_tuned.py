"""Records of what was measured: found again, and not found where they no longer hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from semblance.errors import InputError
from semblance.inference import tuned
from semblance.inference.encoder import Encoder
from semblance.inference.session import Session
from semblance.inference.tuned import Tuned

RECORD = Tuned(
    backend="cpu", threads=1, streams=1, max_batch=3, images_per_sec=123.0, latency_ms=4.5, when="2026-11-25T10:00:00"
)


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tuned, "folder", lambda: tmp_path / "records")
    return tmp_path / "records"


def test_what_is_kept_is_found_and_can_be_forgotten(tiny_model: Any, records: Path) -> None:
    assert tuned.find(tiny_model.path, tiny_model.card) is None
    path = tuned.keep(tiny_model.path, tiny_model.card, RECORD)
    assert path.parent == records
    assert tuned.find(tiny_model.path, tiny_model.card) == RECORD
    newer = replace(RECORD, max_batch=8)
    assert tuned.keep(tiny_model.path, tiny_model.card, newer) == path
    assert tuned.find(tiny_model.path, tiny_model.card) == newer
    assert tuned.forget(tiny_model.path, tiny_model.card) == path
    assert tuned.find(tiny_model.path, tiny_model.card) is None
    assert tuned.forget(tiny_model.path, tiny_model.card) is None


def test_auto_takes_it_where_nothing_else_is_said(tiny_model: Any) -> None:
    tuned.keep(tiny_model.path, tiny_model.card, RECORD)
    encoder = Encoder.load(tiny_model.path)
    assert encoder.max_batch == 3
    assert encoder.why == "the fastest that `semblance tune` measured here, on 2026-11-25"
    assert encoder.why in encoder.description
    assert Encoder.load(tiny_model.path, max_batch=5).max_batch == 5
    by_name = Encoder.load(tiny_model.path, backend="cpu")
    assert (by_name.backend, by_name.why) == ("cpu", "")
    assert by_name.max_batch > 3


@pytest.mark.parametrize("changed", ["processor", "threads", "driver", "gpus", "onnxruntime"])
def test_on_another_machine_or_version_it_is_not_found(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    tuned.keep(tiny_model.path, tiny_model.card, RECORD)
    machine = tuned.machine()
    assert changed in machine
    with monkeypatch.context() as patch:
        patch.setattr(tuned, "machine", lambda: {**machine, changed: "other"})
        assert tuned.find(tiny_model.path, tiny_model.card) is None
        assert "tune" not in Session(tiny_model.path).why.partition(";")[0]
    assert tuned.find(tiny_model.path, tiny_model.card) == RECORD


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "null", '{"machine": {}}',
        {"backend": "npu"}, {"backend": "auto"}, {"threads": 0}, {"max_batch": "8"}, {"when": 5}, {"new": 1},
        None,
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_as_none(tiny_model: Any, content: Any) -> None:
    path = tuned.keep(tiny_model.path, tiny_model.card, RECORD)
    kept = json.loads(path.read_text())
    if content is None:
        del kept["tuned"]["when"]
    elif isinstance(content, dict):
        kept["tuned"].update(content)
    path.write_text(content if isinstance(content, str) else json.dumps(kept))
    assert tuned.find(tiny_model.path, tiny_model.card) is None
    assert Session(tiny_model.path).max_batch > 3


def test_a_record_is_of_one_graph(tiny_model: Any, tiny_model_maker: Any) -> None:
    own = tuned.identity(tiny_model.path, tiny_model.card)
    assert tuned.identity(tiny_model.path, tiny_model.card) == own
    other_weights = tiny_model_maker("other", seed=1)
    assert tuned.identity(other_weights.path, other_weights.card) != own
    for fields in ({"precision": "int8"}, {"gate": {"mean_cosine": 0.9}}, {"parity": {"max": 0.1}}):
        assert tuned.identity(tiny_model.path, replace(tiny_model.card, **fields)) != own


def test_an_identity_is_a_files_name_whatever_the_models(tiny_model: Any) -> None:
    name = tuned.identity(tiny_model.path, replace(tiny_model.card, name="../a b/ü" * 40))
    assert "/" not in name
    assert " " not in name
    assert len(name.encode()) < 200


@pytest.mark.parametrize("wrong", [{"backend": "auto"}, {"backend": "npu"}, {"threads": 0}, {"streams": 1.5}])
def test_a_record_that_no_session_could_be_loaded_with_is_not_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        replace(RECORD, **wrong)


def test_a_folder_that_cannot_be_written_is_told(tiny_model: Any, records: Path) -> None:
    records.write_text("a file, where the folder should be")
    with pytest.raises(InputError, match="SEMBLANCE_HOME"):
        tuned.keep(tiny_model.path, tiny_model.card, RECORD)
