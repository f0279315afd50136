"""How much arithmetic one image is: multiplications and additions of a graph's convolutions and matrix products.

In: an ONNX file. Out: operations for batch 1, two for each multiply-accumulate; a convolution of [O, C/g, kh, kw] that
gives [O, h, w] is 2 O h w C/g kh kw, a product [m, k] x [k, n] is 2 m k n. What else a graph does is memory traffic and
counts as none. Quantised layers count as the layers that they stand for.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import onnx
from onnx import shape_inference


def operations_of(path: Path) -> int:
    """The operations of one image. Raises ValueError for a layer whose shapes cannot be inferred."""
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {each.name: list(each.dims) for each in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        shapes[value.name] = [size.dim_value for size in value.type.tensor_type.shape.dim]
    return sum(_operations(node, shapes) for node in model.graph.node)


def _operations(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    if node.op_type == "Conv":
        weights, output = shapes.get(node.input[1], []), shapes.get(node.output[0], [])
        return 2 * _sure(node, output) * prod(_known(node, weights)[1:])
    if node.op_type in ("MatMul", "Gemm"):
        left = _known(node, shapes.get(node.input[0], []))
        is_turned = node.op_type == "Gemm" and any(each.name == "transA" and each.i for each in node.attribute)
        return 2 * _sure(node, shapes.get(node.output[0], [])) * (left[-2] if is_turned else left[-1])
    return 0


def _known(node: onnx.NodeProto, shape: list[int]) -> list[int]:
    # a batch axis that nothing else says is the one that was set to 1
    known = [size or 1 for size in shape[:1]] + shape[1:]
    if not shape or 0 in known:
        raise ValueError(f"the shape {shape} of {node.op_type} {node.name!r} is not known")
    return known


def _sure(node: onnx.NodeProto, shape: list[int]) -> int:
    return prod(_known(node, shape))
