"""The largest product of float32 by ONNX Runtime: what a network is held against. It embeds nothing."""

from __future__ import annotations

import numpy as np

from bench.contenders import Asked, Loaded, Role
from bench.contenders.products import OPERATIONS, SIDE, load_product

__all__ = ["OPERATIONS", "PACKAGES", "ROLE", "TITLE", "load"]

TITLE = "product of float32"
ROLE: Role = "ceiling"
PACKAGES = ("onnxruntime", "onnx")


def load(asked: Asked) -> Loaded:
    """No options; every input gives the same product."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIDE, SIDE), dtype=np.float32) for _ in range(2))
    return load_product(asked, "MatMul", a, b, np.float32)
