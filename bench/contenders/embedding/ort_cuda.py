"""The engine's session through ONNX Runtime on an NVIDIA GPU."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.sessions import load_session

TITLE = "semblance, ONNX Runtime on CUDA"
ROLE: Role = "engine"
PACKAGES = ("onnxruntime-gpu",)
BACKEND = "cuda"


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), `max_batch`."""
    return load_session(asked, BACKEND)
