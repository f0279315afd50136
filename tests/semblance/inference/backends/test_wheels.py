"""Which wheels are there: one ONNX Runtime is used, two or none are an error with the command that mends it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import pytest

from semblance.errors import RuntimeMissing
from semblance.inference.backends import openvino, wheels


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


def test_one_that_cannot_be_imported_says_what_it_lacks_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnxruntime", "openvino"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('libstdc++.so.6: not found')")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    for load, wheel in ((wheels.onnxruntime, "onnxruntime"), (openvino.openvino, "openvino")):
        with pytest.raises(RuntimeMissing, match=rf"libstdc.*pip install --force-reinstall {wheel}"):
            load()
