"""`auto`: what was measured comes first, then the devices that are there, then the CPU; and it says why."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from semblance.errors import BackendError, RuntimeMissing
from semblance.inference import backends
from semblance.inference.backends import Choice, LoadOptions, auto, wheels


def names(candidates: list[Choice]) -> list[str]:
    return [each.backend for each in candidates]


def test_the_cpus_backends_by_precision() -> None:
    assert names(auto.candidates("fp32")) == ["cpu", "openvino"]
    assert names(auto.candidates("int8")) == ["cpu", "openvino"]
    assert names(auto.candidates("bf16")) == ["openvino"]


def test_what_was_measured_comes_first() -> None:
    tuned = Choice("openvino", "measured")
    assert auto.candidates("fp32", tuned=tuned)[0] == tuned
    assert names(auto.candidates("fp32", tuned=tuned)) == ["openvino", "cpu"], "and is not tried twice"


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


@pytest.mark.parametrize("where", ["loaded", "run"])
def test_one_that_fails_is_passed_over_wherever_it_does(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A GPU whose memory others hold opens a session, and fails with the first batch."""
    load = backends._load

    class Full:
        description = "full"

        def run(self, images: Any) -> Any:
            assert images.shape == (1, 8, 8, 1)
            raise BackendError("the memory of the GPU does not suffice")

        def release_memory(self) -> None:
            pass

    def made_up(model: Any, backend: str, options: LoadOptions) -> Any:
        if backend != "cuda":
            return load(model, backend, options)
        if where == "loaded":
            raise BackendError("the memory of the GPU does not suffice")
        return Full()

    monkeypatch.setattr(backends, "_load", made_up)
    monkeypatch.setattr(auto, "_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    loaded = backends.load(tiny_model.path, "auto", LoadOptions(threads=1, shape=(8, 8, 1)))
    assert loaded.backend == "cpu"
    assert "not cuda: the memory of the GPU" in loaded.why


def test_wheels_that_clash_are_no_reason_to_say_that_there_are_none(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (wheels, auto):
        monkeypatch.setattr(module, "installed_wheels", lambda: ["onnxruntime", "onnxruntime-gpu"])
    (only,) = auto.candidates("fp32")
    assert only.backend == "openvino"
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in only.why
    monkeypatch.setattr(auto, "version_of", lambda wheel: None)
    with pytest.raises(RuntimeMissing, match="pip uninstall -y onnxruntime onnxruntime-gpu"):
        backends.load(tiny_model.path, "auto", LoadOptions(threads=1))


def test_where_nothing_is_installed_the_error_has_the_commands(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "installed_wheels", list)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(auto, "installed_wheels", list)
    assert [each.why for each in auto.candidates("fp32")] == ["the only backend for a CPU that is installed"]
    monkeypatch.setattr(auto, "version_of", lambda wheel: None)
    with pytest.raises(RuntimeMissing, match=r"pip install 'semblance\[cpu\]'"):
        backends.load(tiny_model.path, "auto", LoadOptions(threads=1))
    with pytest.raises(RuntimeMissing, match=r"bf16: pip install 'semblance\[openvino\]'"):
        backends.load(tiny_model.path, "auto", LoadOptions(threads=1, precision="bf16"))


def test_a_precision_that_a_backend_has_not_is_refused(tiny_model: Any) -> None:
    with pytest.raises(BackendError, match="'cpu' does not compute in bf16; it takes fp32, fp16, int8"):
        backends.load(tiny_model.path, "cpu", LoadOptions(threads=1, precision="bf16"))
