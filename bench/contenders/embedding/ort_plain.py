"""ONNX Runtime as one writes it in three lines: every batch size as it comes, nothing met before it is asked for."""

from __future__ import annotations

from pathlib import Path

from bench.contenders import Asked, Loaded, Role

TITLE = "ONNX Runtime, three lines"
ROLE: Role = "peer"
PACKAGES = ("onnxruntime",)


def load(asked: Asked) -> Loaded:
    """Options: `file` (.onnx)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = asked.threads
    session = onnxruntime.InferenceSession(Path(asked["file"]), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return Loaded(lambda images: session.run(None, {name: images})[0])
