"""The two small graphs that compare descriptors, written into the package: they have no weights, only arithmetic.

    python -m export.matching

Both take query descriptors `a` uint8 [M, 128], train descriptors `b` int8 [N, 128] (each byte less 128), their squared
norms `bias` float32 [N] and how the N columns are cut, `shape` int64 [4] = 0, sets, members, groups. For each query and
set they give the two smallest of the group minima and which groups these are: `score` float32 and `group` int64
[M, sets, 2]. A score is |b|^2 - 2 a.(b - 128), which is the squared distance less what is the same for all b. Every
number on the way is an integer below 2^24, so float32 is exact. `group` g holds the columns g, G + g, 2 G + g, ... of
its set: so the minima are taken over whole rows of memory at a time.

    bytes.onnx    CPUs: one integer product whose results are scaled and shifted while they are in registers
    floats.onnx   GPUs: a float32 product, exact under TF32 too, since operands below 2^8 fit its 10 bits
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from semblance.local.nearest import graphs_folder

OPSET = 18
_IR_VERSION = 9


def graph(name: str) -> onnx.ModelProto:
    """The graph of that name, `bytes` or `floats`."""
    if name == "bytes":
        product = [
            # ONNX Runtime's own, in its CPU provider: y = (a b) * a_scale * b_scale + bias
            helper.make_node("MatMulIntegerToFloat", ["a", "columns", "one", "minus_two", "", "", "bias"], ["scores"],
                             domain="com.microsoft")
        ]  # fmt: skip
        domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    else:
        product = [
            helper.make_node("Cast", ["a"], ["a_floats"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["columns"], ["b_floats"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["a_floats", "b_floats"], ["products"]),
            helper.make_node("Mul", ["products", "minus_two"], ["doubled"]),
            helper.make_node("Add", ["doubled", "bias"], ["scores"]),
        ]
        domains = [helper.make_opsetid("", OPSET)]
    nodes = [
        helper.make_node("Transpose", ["b"], ["columns"], perm=[1, 0]),
        *product,
        helper.make_node("Reshape", ["scores", "shape"], ["members"]),  # [M, sets, members, groups]
        helper.make_node("ReduceMin", ["members", "axis"], ["minima"], keepdims=0),
        helper.make_node("TopK", ["minima", "two"], ["score", "group"], largest=0, axis=-1),
    ]
    constants = {"minus_two": np.float32(-2), "axis": np.array([2]), "two": np.array([2])}
    if name == "bytes":
        constants["one"] = np.float32(1)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            f"semblance_matching_{name}",
            [
                helper.make_tensor_value_info("a", TensorProto.UINT8, ["M", 128]),
                helper.make_tensor_value_info("b", TensorProto.INT8, ["N", 128]),
                helper.make_tensor_value_info("bias", TensorProto.FLOAT, ["N"]),
                helper.make_tensor_value_info("shape", TensorProto.INT64, [4]),
            ],
            [
                helper.make_tensor_value_info("score", TensorProto.FLOAT, ["M", "sets", 2]),
                helper.make_tensor_value_info("group", TensorProto.INT64, ["M", "sets", 2]),
            ],
            [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
        ),
        opset_imports=domains,
        ir_version=_IR_VERSION,
        producer_name="semblance",
    )
    onnx.checker.check_model(model)
    return model


def content(name: str) -> bytes:
    """The file of the graph, the same bytes each time."""
    return bytes(graph(name).SerializeToString(deterministic=True))


def main() -> None:
    """Write both graphs into the package."""
    for name in ("bytes", "floats"):
        path = Path(graphs_folder(), f"{name}.onnx")
        path.write_bytes(content(name))
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
