"""The engine's session through ONNX Runtime on an NVIDIA GPU."""

from __future__ import annotations

from pathlib import Path

from bench.contenders import Asked, Loaded, Role

TITLE = "semblance, ONNX Runtime on CUDA"
ROLE: Role = "engine"
PACKAGES = ("onnxruntime-gpu",)
BACKEND = "cuda"


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), `max_batch`."""
    from semblance.inference.session import Session

    return Loaded(
        Session(Path(asked["file"]), backend=BACKEND, threads=asked.threads, max_batch=asked["max_batch"]).run
    )
