"""The engine's session through TensorRT on an NVIDIA GPU."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.sessions import load_session

TITLE = "semblance, TensorRT"
ROLE: Role = "engine"
PACKAGES = ("onnxruntime-gpu",)
BACKEND = "tensorrt"


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), `max_batch`."""
    return load_session(asked, BACKEND)
