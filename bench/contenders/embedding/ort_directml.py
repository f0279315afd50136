"""The engine's session through DirectML on a GPU under Windows."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.sessions import load_session

TITLE = "semblance, ONNX Runtime on DirectML"
ROLE: Role = "engine"
PACKAGES = ("onnxruntime-directml",)
BACKEND = "directml"


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), `max_batch`."""
    return load_session(asked, BACKEND)
