"""ONNX Runtime's TensorRT provider: its options, and the folders in which engines are kept for the next start.

In: what a session is loaded with. Out: options by the names that the provider parses, which takes True and False where
others take 1 and 0. An engine is built for minutes and holds for one graph, one range of batch sizes, one GPU and one
version of TensorRT. The provider names its files after the graph alone, so each of these is part of the folder's name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from semblance.home import home
from semblance.inference.backends import libraries, nvidia
from semblance.inference.backends.options import LoadOptions
from semblance.inference.backends.wheels import onnxruntime


def options(load: LoadOptions) -> Mapping[str, str]:
    """The provider's options for one session on the GPU `load.device`."""
    found = {
        "device_id": str(load.device),
        # which narrower types its kernels may compute in; the graph's own types and quantised nodes ask for them
        "trt_fp16_enable": str(load.precision == "fp16"),
        "trt_bf16_enable": str(load.precision == "bf16"),
        "trt_int8_enable": str(load.precision == "int8"),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(engine_folder(load)),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(timing_folder(load)),
        **_profile(load),
        # it keeps one recording whatever the batch and its buffers (there is no gpu_graph_id here), and would replay
        # that of another bucket; an engine is few launches anyhow
        "trt_cuda_graph_enable": str(load.gpu.cuda_graphs and len(load.buckets) * load.gpu.in_flight == 1),
    }
    if load.gpu.memory_limit_bytes is not None:
        found["trt_max_workspace_size"] = str(load.gpu.memory_limit_bytes)
    return found


def engine_folder(load: LoadOptions) -> Path:
    """Where the engines of that graph lie for that range of batch sizes, on that GPU: any other has another folder."""
    key = {
        **_machine(load),
        "onnxruntime": onnxruntime().__version__,
        "profile": _profile(load),
        "precision": load.precision,
        "memory_limit_bytes": load.gpu.memory_limit_bytes,
        # TensorRT reads it itself, and an engine that was built with TF32 keeps it
        "tf32_override": os.environ.get("NVIDIA_TF32_OVERRIDE", ""),
    }
    return home() / "engines" / f"{load.identity}-{_digest(key)}"


def timing_folder(load: LoadOptions) -> Path:
    """How fast kernels are, as earlier builds measured them: models share it, so a second one is built sooner."""
    return home() / "engines" / f"timing-{_digest(_machine(load))}"


def _profile(load: LoadOptions) -> dict[str, str]:
    """One range for all buckets, tuned for the largest: that is where a gallery spends its time.

    Shapes within it never build anew. A range for each bucket would be as many sets of kernels to build and to hold,
    and the provider runs with the first one only.
    """
    shape = "x".join(map(str, load.shape))
    least, most = load.buckets[0], load.buckets[-1]
    return {
        "trt_profile_min_shapes": f"image:{least}x{shape}",
        "trt_profile_opt_shapes": f"image:{most}x{shape}",
        "trt_profile_max_shapes": f"image:{most}x{shape}",
    }


def _machine(load: LoadOptions) -> dict[str, object]:
    device = nvidia.device(load.device)
    return {
        "tensorrt": libraries.tensorrt_version(),
        "device": [device.name, device.capability] if device else None,
    }


def _digest(key: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
