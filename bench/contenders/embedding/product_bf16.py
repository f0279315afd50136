"""The largest product of bfloat16 by OpenVINO: what a network is held against. It embeds nothing.

A chain of products, as layers are one: rounding float32 to bfloat16, and back, is paid for once and not with each.
"""

from __future__ import annotations

import numpy as np

from bench.contenders import Asked, Loaded, Role

TITLE = "product of bfloat16"
ROLE: Role = "ceiling"
PACKAGES = ("openvino",)

SIDE, LENGTH = 1024, 8  # as large as the caches like it: [1024, 1024] times eight matrices of that size
OPERATIONS = LENGTH * 2 * SIDE**3  # multiplications and additions of one call


def load(asked: Asked) -> Loaded:
    """No options; every input gives the same product. Raises BackendError without the instructions."""
    from semblance.errors import BackendError
    from semblance.inference.backends.openvino import has_bf16, openvino

    if not has_bf16():
        raise BackendError("this processor does not multiply bfloat16 itself")
    ov = openvino()
    ops = ov.opset15
    rng = np.random.default_rng(0)
    first = rng.standard_normal((SIDE, SIDE), dtype=np.float32)
    given = product = ops.parameter([SIDE, SIDE], np.float32)
    for _ in range(LENGTH):
        factor = rng.standard_normal((SIDE, SIDE), dtype=np.float32) / np.float32(SIDE**0.5)  # so that none overflows
        product = ops.matmul(product, ops.constant(factor), False, False)
    hints = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": asked.threads, "NUM_STREAMS": 1}
    compiled = ov.Core().compile_model(ov.Model([product], [given]), "CPU", hints)
    request = compiled.create_infer_request()
    return Loaded(lambda _: request.infer({0: first}, share_inputs=True, share_outputs=True), answers=lambda _: None)
