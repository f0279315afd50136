"""The largest product of bytes, u8 x s8, by ONNX Runtime: what a network is held against. It embeds nothing."""

from __future__ import annotations

import numpy as np

from bench.contenders import Asked, Loaded, Role
from bench.contenders.products import OPERATIONS, SIDE, load_product

__all__ = ["OPERATIONS", "PACKAGES", "ROLE", "TITLE", "load"]

TITLE = "product of bytes"
ROLE: Role = "ceiling"
PACKAGES = ("onnxruntime", "onnx")


def load(asked: Asked) -> Loaded:
    """No options; every input gives the same product."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    b = rng.integers(-128, 128, (SIDE, SIDE), dtype=np.int8)
    return load_product(asked, "MatMulInteger", a, b, np.int32)
