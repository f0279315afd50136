"""What contenders share that run an ONNX file: the engine's session, and ONNX Runtime's as one writes it by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contenders import Asked, Loaded


def load_session(asked: Asked, backend: str) -> Loaded:
    """The engine's, on that backend. Options: `file` (.onnx), `max_batch`."""
    from semblance.inference.session import Session

    return Loaded(
        Session(Path(asked["file"]), backend=backend, threads=asked.threads, max_batch=asked["max_batch"]).run
    )


def plain_session(model: str | bytes, threads: int) -> Callable[[NDArray[np.generic]], Any]:
    """ONNX Runtime in three lines: a batch in, the first output out, on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda given: session.run(None, {name: given})[0]
