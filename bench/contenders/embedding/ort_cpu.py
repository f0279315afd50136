"""The engine's session through ONNX Runtime on the processor."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.sessions import load_session

TITLE = "semblance, ONNX Runtime"
ROLE: Role = "engine"
PACKAGES = ("onnxruntime",)
BACKEND = "cpu"


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), `max_batch`."""
    return load_session(asked, BACKEND)
