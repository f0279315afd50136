"""The engine's session through OpenVINO on the processor."""

from __future__ import annotations

from pathlib import Path

from bench.contenders import Asked, Loaded, Role

TITLE = "semblance, OpenVINO"
ROLE: Role = "engine"
PACKAGES = ("openvino",)
BACKEND = "openvino"


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx), `max_batch`."""
    from semblance.inference.session import Session

    return Loaded(
        Session(Path(asked["file"]), backend=BACKEND, threads=asked.threads, max_batch=asked["max_batch"]).run
    )
