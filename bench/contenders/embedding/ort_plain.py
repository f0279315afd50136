"""ONNX Runtime as one writes it in three lines: every batch size as it comes, nothing met before it is asked for."""

from __future__ import annotations

from bench.contenders import Asked, Loaded, Role
from bench.contenders.sessions import plain_session

TITLE = "ONNX Runtime, three lines"
ROLE: Role = "peer"
PACKAGES = ("onnxruntime",)


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx)."""
    return Loaded(plain_session(asked["file"], asked.threads))
