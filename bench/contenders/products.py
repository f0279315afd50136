"""The largest product of two matrices that ONNX Runtime has, of whatever numbers: what networks are held against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contenders import Asked, Loaded
from bench.contenders.sessions import plain_session

SIDE = 2048  # as large as the caches like it: [2048, 2048] x [2048, 2048]
OPERATIONS = 2 * SIDE**3  # multiplications and additions of one call


def load_product(asked: Asked, operator: str, a: NDArray[Any], b: NDArray[Any], result: type[np.generic]) -> Loaded:
    """`operator` of `a` and a constant `b`, both [SIDE, SIDE], giving numbers of type `result`, whatever the input."""
    from onnx import helper, numpy_helper

    types = [helper.np_dtype_to_tensor_dtype(np.dtype(each)) for each in (a.dtype, result)]
    given, product = (
        helper.make_tensor_value_info(name, kind, a.shape) for name, kind in zip("ac", types, strict=True)
    )
    node = helper.make_node(operator, ["a", "b"], ["c"])
    graph = helper.make_graph([node], "product", [given], [product], [numpy_helper.from_array(b, "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    multiply = plain_session(model.SerializeToString(), asked.threads)
    return Loaded(lambda _: multiply(a), answers=lambda _: None)
