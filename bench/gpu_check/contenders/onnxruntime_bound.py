"""ONNX Runtime with the setting that the sweep found fastest: what the engine could reach, and the run alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.gpu_check.contenders import Calls, Images, Job, Unfit
from bench.gpu_check.running import THREADS, open_session
from bench.gpu_check.running import prepare as prepared
from bench.gpu_check.setting import Setting

PACKAGES = ("onnxruntime",)
VARIANTS = {"onnxruntime, fastest setting": {"io": "bound"}}
ENVIRONMENT: dict[str, str] = {}


def load(job: Job) -> Callable[[Images], Calls]:
    """Raises Unfit where the sweep had no time to find one."""
    if not job.setting:
        raise Unfit("no setting was measured")
    setting = Setting(**job.setting)
    file = job.half if setting.precision == "fp16" else job.model
    assert file is not None  # else that precision was not measured
    session = open_session(Path(file), setting, job.backend)

    def prepare(images: Images) -> Calls:
        call = prepared(session, setting, images, job.backend)
        return Calls(call.with_copies, call.without_copies, setting.precision, THREADS)

    return prepare
