"""What was said of a GPU, and means nothing to a backend: that is an error, and not passed over in silence.

In: a backend and `GpuOptions`. Out: the names of what it would not heed. The row's own function of options is asked:
what changes nothing there is not heeded. What a backend does anyway, as one without CUDA graphs that are turned off,
is no matter.
"""

from __future__ import annotations

from dataclasses import replace

from semblance.inference.backends.options import GpuOptions, LoadOptions
from semblance.inference.backends.providers import PROVIDERS


def unheeded(backend: str, gpu: GpuOptions) -> list[str]:
    """Names of the options in `gpu` that `backend` would not heed; a CPU heeds none, the defaults neither."""
    default = LoadOptions(threads=1)
    loads = {
        "devices": replace(default, device=max(gpu.devices)),
        "TF32": replace(default, gpu=GpuOptions(tf32=gpu.tf32)),
        "GPU memory": replace(default, gpu=GpuOptions(memory_limit_bytes=gpu.memory_limit_bytes)),
        "conv_search": replace(default, gpu=GpuOptions(conv_search=gpu.conv_search)),
    }
    said = {name: load for name, load in loads.items() if load != default}
    row = PROVIDERS.get(backend)
    if row is None or row.is_cpu:
        return list(said) or ["devices"]
    plain = dict(row.options(default))
    return [name for name, load in said.items() if dict(row.options(load)) == plain]
