"""The engine's session through OpenVINO on the processor."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.sessions import load_session

TITLE = "semblance, OpenVINO"
ROLE: Role = "engine"
PACKAGES = ("openvino",)
BACKEND = "openvino"


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), `max_batch`."""
    return load_session(asked, BACKEND)
