"""Small graphs that compare vectors, written into the package: they have no weights, only arithmetic.

    python -m export.products

Two compare descriptors. Both take query descriptors `a` uint8 [M, 128], train descriptors `b` int8 [N, 128] (each byte
less 128), their squared norms `bias` float32 [N] and how the N columns are cut, `shape` int64 [4] = 0, sets, members,
groups. For each query and set they give the two smallest of the group minima and which groups these are: `score`
float32 and `group` int64 [M, sets, 2]. A score is |b|^2 - 2 a.(b - 128), which is the squared distance less what is the
same for all b. Every number on the way is an integer below 2^24, so float32 is exact. Group g holds the columns g,
G + g, 2 G + g, ... of its set: so the minima are taken over whole rows of memory at a time.

    bytes.onnx    CPUs: one integer product whose results are scaled and shifted while they are in registers
    floats.onnx   GPUs: a float32 product, exact under TF32 too, since operands below 2^8 fit its 10 bits

One gives exact search its scores: `scores` float32 [M, N] = (a - 128) . b * scale + bias, of `a` uint8 [M, D], `b` int8
[N, D], `scale` and `bias` float32 [N], and their `minima` [M, groups] over groups as above, cut by `shape` = 0, members
and groups.

    codes.onnx
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import semblance.gallery.codes_product
import semblance.local.nearest

OPSET = 18
_IR_VERSION = 9


FILES = {
    "bytes": semblance.local.nearest.graphs_folder() / "bytes.onnx",
    "floats": semblance.local.nearest.graphs_folder() / "floats.onnx",
    "codes": semblance.gallery.codes_product.GRAPH,
}


def graph(name: str) -> onnx.ModelProto:
    """The graph of that name, one of `FILES`."""
    return _codes() if name == "codes" else _matching(name)


def _matching(name: str) -> onnx.ModelProto:
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
    return _model(
        name,
        nodes,
        {
            "a": (TensorProto.UINT8, ["M", 128]),
            "b": (TensorProto.INT8, ["N", 128]),
            "bias": (TensorProto.FLOAT, ["N"]),
            "shape": (TensorProto.INT64, [4]),
        },
        {"score": (TensorProto.FLOAT, ["M", "sets", 2]), "group": (TensorProto.INT64, ["M", "sets", 2])},
        constants,
        domains,
    )


def _codes() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Transpose", ["b"], ["columns"], perm=[1, 0]),
        helper.make_node("MatMulIntegerToFloat", ["a", "columns", "one", "scale", "zero_point", "", "bias"], ["scores"],
                         domain="com.microsoft"),
        helper.make_node("Reshape", ["scores", "shape"], ["members"]),  # [M, members, groups]
        helper.make_node("ReduceMin", ["members", "axis"], ["minima"], keepdims=0),
    ]  # fmt: skip
    return _model(
        "codes",
        nodes,
        {
            "a": (TensorProto.UINT8, ["M", "D"]),
            "b": (TensorProto.INT8, ["N", "D"]),
            "scale": (TensorProto.FLOAT, ["N"]),
            "bias": (TensorProto.FLOAT, ["N"]),
            "shape": (TensorProto.INT64, [3]),
        },
        {"scores": (TensorProto.FLOAT, ["M", "N"]), "minima": (TensorProto.FLOAT, ["M", "groups"])},
        {"one": np.float32(1), "zero_point": np.uint8(128), "axis": np.array([1])},
        [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)],
    )


Values = dict[str, tuple[int, list[str | int]]]  # element type and shape, by name


def _model(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: Values,
    outputs: Values,
    constants: dict[str, Any],
    domains: list[onnx.OperatorSetIdProto],
) -> onnx.ModelProto:
    model = helper.make_model(
        helper.make_graph(
            nodes,
            f"semblance_{name}",
            [helper.make_tensor_value_info(key, *each) for key, each in inputs.items()],
            [helper.make_tensor_value_info(key, *each) for key, each in outputs.items()],
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
    """Write all of them into the package."""
    for name, path in FILES.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content(name))
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
