"""The largest product of float32 by ONNX Runtime: what a network is held against. It embeds nothing."""

from __future__ import annotations

import numpy as np

from bench.contenders import Asked, Loaded, Role

TITLE = "product of float32"
ROLE: Role = "ceiling"
PACKAGES = ("onnxruntime", "onnx")

SIDE = 2048  # as large as the caches like it: [2048, 2048] x [2048, 2048]
OPERATIONS = 2 * SIDE**3  # multiplications and additions of one call


def load(asked: Asked) -> Loaded:
    """No options; every input gives the same product."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIDE, SIDE), dtype=np.float32) for _ in range(2))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])], "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, a.shape)],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, a.shape)], [numpy_helper.from_array(b, "b")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = asked.threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Loaded(lambda _: session.run(None, {"a": a})[0], answers=lambda _: None)
