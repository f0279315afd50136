"""The engine's session through MIGraphX on an AMD GPU."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.sessions import load_session

TITLE = "semblance, ONNX Runtime on MIGraphX"
ROLE: Role = "engine"
PACKAGES = ("onnxruntime-migraphx",)
BACKEND = "migraphx"


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), `max_batch`."""
    return load_session(asked, BACKEND)
