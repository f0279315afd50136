"""The engine's encoder, given paths: it decodes ahead in threads while ONNX Runtime embeds."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.picture_files import load_encoder

TITLE = "semblance, ONNX Runtime"
ROLE: Role = "engine"
PACKAGES = ("onnxruntime", "opencv-python-headless")


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), `batch`."""
    return Loaded(load_encoder(asked, "cpu").embed)
