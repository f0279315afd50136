"""Pixels that a network never sees, cut off before the first layer instead of carried along.

In: a graph whose layers form a chain from the image. Out: the same, with a Slice at the front where strides and
poolings without padding leave rows and columns over at the end. A 28x28 image through conv 3x3, pool 2, conv 3x3, pool
2 ends at 5x5, which depends on the first 26x26 pixels only: a sixth of the second convolution was for nothing.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from export.editor import Editor, altered, attribute, inferred
from export.folds import constant_operand
from export.moves import reshape_node

_POINTWISE = ("Relu", "Clip", "Sigmoid", "LeakyRelu", "Elu", "Tanh")
_WINDOWS = ("Conv", "MaxPool", "AveragePool")

Size = tuple[int, int]  # height, width


def crop_unseen(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a Slice on its image, where the last rows or columns reach no output; else as it is."""
    model = inferred(model)
    editor = Editor(model)
    image = model.graph.input[0].name
    entry, layers = _chain(editor, image)
    shape = editor.shape(image)
    if entry is None or not layers or shape is None or len(shape) != 4:
        return model
    needed = _needed(editor, layers)
    if needed is None or needed == shape[1:3]:
        return model
    _insert_slice(editor, image, entry, needed)
    editor.finish()
    return inferred(model)


def _chain(editor: Editor, image: str) -> tuple[onnx.NodeProto | None, list[onnx.NodeProto]]:
    """The node that brings the image to channels-first, and the layers behind it up to the first branch or flatten."""
    node, entry, layers = editor.only_user(image), None, list[onnx.NodeProto]()
    while node is not None:
        if entry is None and _enters(editor, node):
            entry = node
        elif node.op_type in (*_POINTWISE, *_WINDOWS) and entry is not None:
            layers.append(node)
        elif node.op_type != "Cast" and not _is_per_channel(editor, node, has_entered=entry is not None):
            break
        node = editor.only_user(node.output[0])
    return entry, layers


def _enters(editor: Editor, node: onnx.NodeProto) -> bool:
    """A Transpose to channels-first, or the Reshape that does the same for one channel."""
    before, after = editor.shape(node.input[0]), editor.shape(node.output[0])
    if before is None or after is None or len(before) != 4 or len(after) != 4:
        return False
    if node.op_type == "Transpose":
        return list(attribute(node, "perm", ())) == [0, 3, 1, 2]
    return node.op_type == "Reshape" and before[3] == after[1] == 1 and before[1:3] == after[2:]


def _is_per_channel(editor: Editor, node: onnx.NodeProto, *, has_entered: bool) -> bool:
    """Arithmetic with a constant that is the same for all pixels of a channel; channels come last before the entry."""
    parts = constant_operand(editor, node)
    if parts is None or parts[1].size == 1:
        return parts is not None
    shape = parts[1].shape
    return shape[-2:] == (1, 1) if has_entered else all(size == 1 for size in shape[:-1])


def _needed(editor: Editor, layers: list[onnx.NodeProto]) -> Size | None:
    """The height and width of the first layer's input that its last output depends on."""
    last = editor.shape(layers[-1].output[0])
    if last is None or len(last) != 4:
        return None
    needed = last[2:]
    for node in reversed(layers):
        given = editor.shape(node.input[0])
        if given is None or None in given[1:] or None in needed:
            return None
        if node.op_type in _WINDOWS:
            needed = tuple(_reach(editor, node, axis, needed[axis], given[2 + axis]) for axis in (0, 1))
    return needed


def _reach(editor: Editor, node: onnx.NodeProto, axis: int, num_out: int, size: int) -> int:
    """How many of the `size` entries along an axis a window layer's first `num_out` outputs depend on."""
    pads = attribute(node, "pads", [0] * 4)
    is_plain = attribute(node, "auto_pad", b"NOTSET") == b"NOTSET" and not attribute(node, "ceil_mode", 0)
    if pads[2 + axis] or not is_plain:
        return size  # what lies beyond the end counts as padding, so the end must stay where it is
    weights = editor.shape(node.input[1]) if node.op_type == "Conv" else None
    kernel = weights[2 + axis] if weights is not None else attribute(node, "kernel_shape")[axis]
    span = attribute(node, "dilations", [1, 1])[axis] * (kernel - 1) + 1
    return int((num_out - 1) * attribute(node, "strides", [1, 1])[axis] + span - pads[axis])


def _insert_slice(editor: Editor, image: str, entry: onnx.NodeProto, size: Size) -> None:
    height, width = size
    starts, ends, axes = (editor.add_constant(np.asarray(each, np.int64)) for each in ([0, 0], [height, width], [1, 2]))
    first = editor.only_user(image)
    assert first is not None  # the chain began there
    cropped = editor.new_value(None)
    crop = helper.make_node("Slice", [image, starts, ends, axes], [cropped])
    if entry.op_type == "Reshape":
        source = cropped if entry is first else entry.input[0]
        reshaped = reshape_node(editor, source, entry.output[0], (None, 1, height, width))
        editor.replace([entry], [reshaped] if entry is not first else [crop, reshaped])
    if entry.op_type != "Reshape" or entry is not first:
        inputs = [cropped if name == image else name for name in first.input]
        editor.replace([first], [crop, altered(first, inputs)])
