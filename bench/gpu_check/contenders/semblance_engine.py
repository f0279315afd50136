"""The engine as its users have it: a `Session` with its own defaults, arrays in host memory in and out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.gpu_check.contenders import Calls, Images, Job, Unfit
from semblance.inference.session import Session

PACKAGES = ("onnxruntime",)
VARIANTS = {"semblance fp16": {"precision": "fp16"}, "semblance fp32": {"precision": "fp32"}}
ENVIRONMENT: dict[str, str] = {}


def load(job: Job) -> Callable[[Images], Calls]:
    """Raises Unfit where there is no file of that precision."""
    precision = job.options["precision"]
    file = job.half if precision == "fp16" else job.model
    if file is None:
        raise Unfit("there is no fp16 file beside the model")
    session = Session(Path(file), backend=job.backend, max_batch=job.max_batch)

    def prepare(images: Images) -> Calls:
        return Calls(lambda: session.run(images), None, precision, 1)

    return prepare
