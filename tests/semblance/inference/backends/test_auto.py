"""`auto`: what was measured comes first, then the devices that are there, then the CPU; and it says why."""

from __future__ import annotations

from typing import Any

import pytest

from semblance.errors import BackendError, RuntimeMissing
from semblance.inference import backends
from semblance.inference.backends import Choice, LoadOptions, auto


def names(candidates: list[Choice]) -> list[str]:
    return [each.backend for each in candidates]


def test_the_cpus_backends_by_precision() -> None:
    assert names(auto.candidates("fp32")) == ["cpu", "openvino"]
    assert names(auto.candidates("int8")) == ["cpu", "openvino"]
    assert names(auto.candidates("bf16")) == ["openvino"]


def test_what_was_measured_comes_first() -> None:
    tuned = Choice("openvino", "measured")
    assert auto.candidates("fp32", tuned=tuned)[0] == tuned


def test_a_device_comes_before_the_cpu_where_its_provider_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert names(auto.candidates("fp32"))[:2] == ["cuda", "cpu"]
    assert "cuda" not in names(auto.candidates("int8"))  # CUDA has no int8 to speak of


def test_one_that_does_not_run_is_passed_over_and_named(tiny_model: Any) -> None:
    loaded = backends.load(tiny_model.path, "auto", LoadOptions(threads=1, shape=(8, 8, 1)),
                           tuned=Choice("cuda", "measured on another day"))  # fmt: skip
    assert loaded.backend == "cpu"
    assert "not cuda: " in loaded.why
    assert "CUDAExecutionProvider" in loaded.why


def test_where_nothing_is_installed_the_error_has_the_commands(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "_providers", list)
    monkeypatch.setattr(auto, "version_of", lambda wheel: None)
    with pytest.raises(RuntimeMissing, match=r"pip install 'semblance\[cpu\]'"):
        backends.load(tiny_model.path, "auto", LoadOptions(threads=1))
    with pytest.raises(RuntimeMissing, match=r"bf16: pip install 'semblance\[openvino\]'"):
        backends.load(tiny_model.path, "auto", LoadOptions(threads=1, precision="bf16"))


def test_a_precision_that_a_backend_has_not_is_refused(tiny_model: Any) -> None:
    with pytest.raises(BackendError, match="'cpu' does not compute in bf16; it takes fp32, fp16, int8"):
        backends.load(tiny_model.path, "cpu", LoadOptions(threads=1, precision="bf16"))
