"""Which wheels are there: one ONNX Runtime is used, two or none are an error with the command that mends it."""

from __future__ import annotations

import importlib.metadata
import importlib.util

import pytest

from semblance.errors import RuntimeMissing
from semblance.inference.backends import wheels


def test_two_wheels_that_overwrite_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version",
                        lambda name: real("onnxruntime") if name == "onnxruntime-gpu" else real(name))  # fmt: skip
    with pytest.raises(RuntimeMissing, match="pip uninstall -y onnxruntime onnxruntime-gpu"):
        wheels.onnxruntime()


def test_no_wheel_at_all_is_an_import_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "installed_wheels", list)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'semblance\[cpu\]'"):
        wheels.onnxruntime()
