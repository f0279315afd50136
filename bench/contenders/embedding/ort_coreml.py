"""The engine's session through CoreML on a Mac."""

from __future__ import annotations

from pathlib import Path

from bench.contenders import Asked, Loaded, Role

TITLE = "semblance, ONNX Runtime on CoreML"
ROLE: Role = "engine"
PACKAGES = ("onnxruntime",)
BACKEND = "coreml"


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), `max_batch`."""
    from semblance.inference.session import Session

    return Loaded(
        Session(Path(asked["file"]), backend=BACKEND, threads=asked.threads, max_batch=asked["max_batch"]).run
    )
