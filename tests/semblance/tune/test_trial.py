"""A session under measurement."""

from __future__ import annotations

from typing import Any

import pytest

from semblance.errors import BackendError
from semblance.inference import backends
from semblance.tune import trial
from semblance.tune.candidates import Setting, variants_of
from semblance.tune.trial import Trial, activation_bytes, weight_bytes


@pytest.mark.parametrize("backend", ["cpu", "openvino"])
@pytest.mark.parametrize("streams", [1, 2])
def test_a_window_of_a_real_session(tiny_model: Any, backend: str, streams: int) -> None:
    pytest.importorskip(backend if backend == "openvino" else "onnxruntime")
    (variant,) = variants_of(tiny_model.path)
    loaded = Trial(variant, backend, 2, streams, 8)
    for batch in (1, 8):
        loaded.warm(batch)
        window = loaded.window(batch, 0.01)
        assert window.images_per_sec > 0
        assert len(window.latencies_ms) >= streams


def test_one_image_is_alone_and_batches_are_as_many_as_a_session_takes(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "callers", lambda backend, gpu: 2)
    monkeypatch.setattr(backends, "is_device", lambda backend: True)
    (variant,) = variants_of(tiny_model.path)
    at_a_time: list[int] = []
    monkeypatch.setattr(trial, "measure_window", lambda run, batches, seconds: at_a_time.append(len(batches)))
    for streams, batch in ((1, 1), (1, 8), (2, 1), (2, 8)):
        Trial(variant, "cpu", 1, streams, 8).window(batch, 0.01)
    assert at_a_time == [1, 2, 4, 4]


def test_a_backend_that_is_not_here_says_so(tiny_model: Any) -> None:
    (variant,) = variants_of(tiny_model.path)
    with pytest.raises(BackendError, match="coreml"):
        Trial(variant, "coreml", 1, 1, 1)


def test_room_is_of_weights_once_and_of_batches_in_each_stream(tiny_model: Any) -> None:
    (variant,) = variants_of(tiny_model.path)
    small, wide, twice = (Setting("cpu", 2, streams, batch) for streams, batch in ((1, 1), (1, 99), (2, 1)))
    assert 0 < activation_bytes(variant, small) * 99 == activation_bytes(variant, wide)
    assert activation_bytes(variant, twice) == 2 * activation_bytes(variant, small)
    assert tiny_model.path.stat().st_size < weight_bytes(variant, small) == weight_bytes(variant, twice)
    assert weight_bytes(variant, Setting("cuda", 1, 2, 1)) == 2 * weight_bytes(variant, small), "two sessions"
