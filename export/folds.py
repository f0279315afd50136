"""Rules that fold arithmetic with constants into the weights behind or before it.

In: an Editor and a node. Out: whether the rule fired. Folding is done in float64 and rounded once to float32, so the
folded weights are as close to the original's arithmetic as float32 allows. What is gone from the graph need not be
computed for each image, on any runtime.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.editor import Editor, altered, attribute

Array = NDArray[Any]


def fold_into_producer(editor: Editor, node: onnx.NodeProto) -> bool:
    """Conv or Gemm, then Mul, Add, Sub or BatchNormalization by constants: into its weights and bias."""
    if node.op_type not in ("Mul", "Add", "Sub", "BatchNormalization"):
        return False
    parts = constant_operand(editor, node)
    layer = editor.maker(node.input[0] if parts is None else parts[0])
    if layer is None or layer.op_type not in ("Conv", "Gemm") or editor.only_user(layer.output[0]) is not node:
        return False
    weights, bias = editor.constant(layer.input[1]), _bias_of(editor, layer)
    if weights is None or bias is None or not _is_plain_gemm(layer):
        return False
    if weights.ndim != (4 if layer.op_type == "Conv" else 2):
        return False  # a convolution along one axis or three has its channels elsewhere
    affine = _per_channel(editor, node, len(bias), 2 if layer.op_type == "Conv" else 0)
    if affine is None:
        return False
    scale, shift = affine  # [C] each, float64
    along_outputs = scale.reshape(-1, 1, 1, 1) if layer.op_type == "Conv" else scale[_gemm_outputs(layer)]
    folded = [
        layer.input[0],
        editor.add_constant((weights.astype(np.float64) * along_outputs).astype(np.float32)),
        editor.add_constant((bias * scale + shift).astype(np.float32)),
    ]
    editor.replace([layer, node], [altered(layer, folded, node.output[0])])
    return True


def fold_scale_into_conv(editor: Editor, node: onnx.NodeProto) -> bool:
    """Mul by a constant per input channel, then Conv: into the weights. Padding stays right, as zero scales to zero."""
    layer = editor.only_user(node.output[0])
    parts = constant_operand(editor, node)
    if node.op_type != "Mul" or parts is None or layer is None or layer.op_type != "Conv":
        return False
    (source, factor), group = parts, attribute(layer, "group", 1)
    weights, shape = editor.constant(layer.input[1]), editor.shape(source)
    if weights is None or weights.ndim != 4 or layer.input[0] != node.output[0] or (group != 1 and factor.size > 1):
        return False
    if shape is None or len(shape) != 4 or shape[1] != weights.shape[1] * group:
        return False  # the Mul makes the channels that the weights expect
    scale = _channels(factor, weights.shape[1], 2)
    if scale is None:
        return False
    scaled = (weights.astype(np.float64) * scale.reshape(1, -1, 1, 1)).astype(np.float32)
    editor.replace([node, layer], [altered(layer, [source, editor.add_constant(scaled), *layer.input[2:]])])
    return True


def sink_scale(editor: Editor, node: onnx.NodeProto) -> bool:
    """Of pixels: Mul by a constant moves behind Add, Sub or Mul by constants: x*s + c is (x + c/s) * s."""
    after = editor.only_user(node.output[0])
    parts = constant_operand(editor, node)
    if node.op_type != "Mul" or parts is None or after is None or after.op_type not in ("Add", "Sub", "Mul"):
        return False
    following = constant_operand(editor, after)
    if following is None or after.input[0] != node.output[0] or not np.all(parts[1]):
        return False
    if parts[1].dtype != np.float32 or following[1].dtype != np.float32:
        return False  # whole numbers would be divided
    if not _is_of_pixels(editor, parts[0]):
        return False
    (source, factor), (_, operand) = parts, following
    if after.op_type == "Mul":
        product = editor.add_constant((factor.astype(np.float64) * operand).astype(np.float32))
        editor.replace([node, after], [altered(node, [source, product], after.output[0])])
        return True
    moved = editor.add_constant((operand.astype(np.float64) / factor).astype(np.float32))
    between = editor.new_value(editor.shape(after.output[0]))
    sunk = [altered(after, [source, moved], between), altered(node, [between, _factor_name(editor, node)])]
    sunk[1].output[:] = after.output
    editor.replace([node, after], sunk)
    return True


def gemm_of_matmul(editor: Editor, node: onnx.NodeProto) -> bool:
    """MatMul of [N, K] by a constant matrix: a Gemm, which takes a bias along."""
    if node.op_type != "MatMul" or len(editor.shape(node.input[0]) or ()) != 2:
        return False
    weights = editor.constant(node.input[1])
    if weights is None or weights.ndim != 2:
        return False
    editor.replace([node], [helper.make_node("Gemm", list(node.input), list(node.output))])
    return True


def fold_pad(editor: Editor, node: onnx.NodeProto) -> bool:
    """Pad with zeros, then Conv; or, of what cannot be negative, then MaxPool: into the layer's own padding.

    A MaxPool pads with minus infinity, which among values that are at least zero gives the maximum that zeros give.
    """
    layer = editor.only_user(node.output[0])
    if node.op_type != "Pad" or layer is None or layer.op_type not in ("Conv", "MaxPool"):
        return False
    if attribute(layer, "auto_pad", b"NOTSET") != b"NOTSET" or not _pads_zeros(editor, node):
        return False
    pads = editor.constant(node.input[1])
    if pads is None or len(pads) != 8 or pads[[0, 1, 4, 5]].any() or (pads < 0).any():
        return False
    total = np.asarray(attribute(layer, "pads", [0] * 4)) + pads[[2, 3, 6, 7]]
    if layer.op_type == "MaxPool":
        kernel = np.asarray(attribute(layer, "kernel_shape") * 2)
        if not _is_never_negative(editor, node.input[0]) or (total >= kernel).any() or not _is_plain_pool(layer):
            return False
    folded = altered(layer, [node.input[0], *layer.input[1:]], pads=[int(each) for each in total])
    editor.replace([node, layer], [folded])
    return True


def constant_operand(editor: Editor, node: onnx.NodeProto) -> tuple[str, Array] | None:
    """Of Add, Sub or Mul by a constant: the name of the other operand, and the constant. None for anything else."""
    if node.op_type not in ("Add", "Sub", "Mul"):
        return None
    second = editor.constant(node.input[1])
    if second is not None:
        return node.input[0], second
    first = editor.constant(node.input[0])
    return None if first is None or node.op_type == "Sub" else (node.input[1], first)


# ------------------------------------------------------------------------------------------------------------------


def _per_channel(editor: Editor, node: onnx.NodeProto, num: int, trailing: int) -> tuple[Array, Array] | None:
    """(scale [num], shift [num]) in float64 of what `node` does to each channel; None where it does anything else."""
    one, zero = np.ones(num), np.zeros(num)
    if node.op_type == "BatchNormalization":
        tensors = [editor.constant(name) for name in node.input[1:5]]
        if any(each is None for each in tensors):
            return None
        gamma, beta, mean, variance = (np.asarray(each, np.float64) for each in tensors)
        scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        return scale, beta - mean * scale
    parts = constant_operand(editor, node)
    values = None if parts is None else _channels(parts[1], num, trailing)
    if values is None:
        return None
    if node.op_type == "Mul":
        return values, zero
    return one, values if node.op_type == "Add" else -values


def _channels(array: Array, num: int, trailing: int) -> Array | None:
    """A constant that broadcasts over channels only, as [num] float64. `trailing`: axes behind the channels.

    None for any other, so also for one that would give the batch and its channels another axis in front.
    """
    if array.ndim > trailing + 2:
        return None
    if array.size == 1:
        return np.full(num, array.reshape(-1)[0], np.float64)
    padded = array.reshape((1,) * max(0, trailing + 1 - array.ndim) + array.shape)
    if array.size != num or padded.shape[padded.ndim - 1 - trailing] != num:
        return None
    return array.reshape(-1).astype(np.float64)


def _bias_of(editor: Editor, layer: onnx.NodeProto) -> Array | None:
    """[C] float64, zeros where the layer has none; None where it is not a constant vector."""
    weights = editor.constant(layer.input[1])
    if weights is None:
        return None
    num = weights.shape[0] if layer.op_type == "Conv" or attribute(layer, "transB", 0) else weights.shape[1]
    if len(layer.input) < 3 or not layer.input[2]:
        return np.zeros(num)
    bias = editor.constant(layer.input[2])
    return None if bias is None or bias.size != num else bias.reshape(-1).astype(np.float64)


def _is_plain_gemm(layer: onnx.NodeProto) -> bool:
    return attribute(layer, "alpha", 1.0) == 1.0 and attribute(layer, "beta", 1.0) == 1.0


def _is_plain_pool(layer: onnx.NodeProto) -> bool:
    """Of a MaxPool: windows without gaps that end within the padding, and maxima without their indices."""
    has_gaps = any(each != 1 for each in attribute(layer, "dilations", [1, 1]))
    return not has_gaps and not attribute(layer, "ceil_mode", 0) and len(layer.output) == 1


def _gemm_outputs(layer: onnx.NodeProto) -> tuple[Any, ...]:
    return (slice(None), None) if attribute(layer, "transB", 0) else (None, slice(None))


def _factor_name(editor: Editor, node: onnx.NodeProto) -> str:
    return node.input[1] if editor.constant(node.input[1]) is not None else node.input[0]


def _pads_zeros(editor: Editor, node: onnx.NodeProto) -> bool:
    if attribute(node, "mode", b"constant") != b"constant" or (len(node.input) > 3 and node.input[3]):
        return False
    value = editor.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    return value is not None and not value.any()


def _is_of_pixels(editor: Editor, value: str) -> bool:
    """Made of the graph's input by nothing but casts, moves and arithmetic with constants."""
    while (maker := editor.maker(value)) is not None:
        if maker.op_type not in ("Cast", "Transpose", "Reshape", "Gather", "Add", "Sub", "Mul"):
            return False
        value = maker.input[0]
    return editor.constant(value) is None


def _is_never_negative(editor: Editor, value: str) -> bool:
    maker = editor.maker(value)
    if maker is None:
        return False
    if maker.op_type == "Clip":
        lowest = editor.constant(maker.input[1]) if len(maker.input) > 1 else None
        return lowest is not None and lowest.item() >= 0
    return maker.op_type in ("Relu", "Sigmoid")
