"""The engine's session through CoreML on a Mac."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.sessions import load_session

TITLE = "semblance, ONNX Runtime on CoreML"
ROLE: Role = "engine"
PACKAGES = ("onnxruntime",)
BACKEND = "coreml"


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), `max_batch`."""
    return load_session(asked, BACKEND)
