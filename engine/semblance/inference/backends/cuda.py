"""ONNX Runtime's CUDA provider: which of its options are set, and why so.

In: what a session is loaded with. Out: options by the names that the provider itself parses; it refuses any other.
"""

from __future__ import annotations

from collections.abc import Mapping

from semblance.inference.backends.options import LoadOptions


def options(load: LoadOptions) -> Mapping[str, str]:
    """The provider's options for one session on the GPU `load.device`."""
    gpu = load.gpu
    found = {
        # TF32 rounds the operands of a float32 product to 10 bits: off, so that fp32 means fp32
        "use_tf32": str(int(gpu.tf32)),
        # the default doubles the arena at each extension, and never gives it back: a service's neighbours need it
        "arena_extend_strategy": "kSameAsRequested",
        # cuDNN's own choice for a shape, at once. Its measurement (EXHAUSTIVE, ONNX Runtime's default) takes seconds
        # for each batch size and chooses anew in each process, so that two processes round differently; DEFAULT is
        # what is left when cuDNN finds nothing, and slow
        "cudnn_conv_algo_search": gpu.conv_search.upper(),
        # fast algorithms for convolutions want room; where memory is limited, only the least that works
        "cudnn_conv_use_max_workspace": str(int(gpu.memory_limit_bytes is None)),
        "prefer_nhwc": str(int(gpu.nhwc)),
        "enable_cuda_graph": str(int(gpu.cuda_graphs)),
        # copies inside the graph stay in the stream of its kernels: a stream of their own is a race (onnxruntime #4829)
        "do_copy_in_default_stream": "1",
    }
    if load.device:
        # 0 is the default, and naming it makes ONNX Runtime warn on stderr that no plug-in has that device
        found["device_id"] = str(load.device)
    if gpu.memory_limit_bytes is not None:
        found["gpu_mem_limit"] = str(gpu.memory_limit_bytes)
    return found
