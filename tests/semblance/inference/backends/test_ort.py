"""ONNX Runtime's rows: what is asked for is used, or the error says why and how to mend it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

import pytest

from semblance.errors import BackendError, ModelError, RuntimeMissing
from semblance.inference import backends
from semblance.inference.backends import ort


def test_the_cpu_row_runs_and_says_what_it_is(tiny_model: Any) -> None:
    runner = backends.load(tiny_model.path, "cpu", threads=2)
    assert "CPUExecutionProvider, 2 threads" in runner.description


def test_auto_says_what_it_chose(tiny_model: Any) -> None:
    assert "CPUExecutionProvider" in backends.load(tiny_model.path, "auto", threads=1).description


def test_an_unknown_backend_lists_those_there_are(tiny_model: Any) -> None:
    with pytest.raises(BackendError, match="auto, cpu, cuda"):
        backends.load(tiny_model.path, "tpu", threads=1)


def test_a_gpu_asked_for_where_there_is_none_is_an_error_with_the_remedy(tiny_model: Any) -> None:
    """On a machine with an NVIDIA GPU and its wheel this one loads, and says so."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        assert "CUDAExecutionProvider" in backends.load(tiny_model.path, "cuda", threads=1).description
        return
    with pytest.raises(BackendError, match=r"CUDAExecutionProvider.*semblance\[gpu\]"):
        backends.load(tiny_model.path, "cuda", threads=1)


def test_a_damaged_graph_is_a_model_error(tiny_model: Any) -> None:
    import onnx

    model = onnx.load(tiny_model.path)
    model.graph.node[1].op_type = "NoSuchOperator"
    onnx.save(model, tiny_model.path)
    with pytest.raises(ModelError, match="NoSuchOperator"):
        backends.load(tiny_model.path, "cpu", threads=1)


def test_two_wheels_that_overwrite_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.distribution
    monkeypatch.setattr(importlib.metadata, "distribution",
                        lambda name: real("onnxruntime") if name == "onnxruntime-gpu" else real(name))  # fmt: skip
    with pytest.raises(RuntimeMissing, match="pip uninstall -y onnxruntime onnxruntime-gpu"):
        ort.onnxruntime()


def test_no_wheel_at_all_is_an_import_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "installed_wheels", list)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'semblance\[cpu\]'"):
        ort.onnxruntime()
