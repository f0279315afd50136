"""Rules that remove moves of data: transposes, reorderings of channels, copies.

In: an Editor and a node. Out: whether the rule fired. A converter from channels-last to channels-first leaves a
transpose wherever the two meet; a weight can be permuted once instead of each image's features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from export.editor import Editor, Shape, altered, attribute
from export.folds import constant_operand

_TO_CHANNELS_LAST = [0, 2, 3, 1]


def hoist_transpose(editor: Editor, node: onnx.NodeProto) -> bool:
    """Cast, Add, Sub, Mul or Tile, then Transpose: the Transpose comes first, where it moves fewer bytes."""
    before = editor.maker(node.input[0]) if node.op_type == "Transpose" else None
    if before is None or editor.only_user(before.output[0]) is not node:
        return False
    perm = _perm(editor, node)
    operands = None if perm is None else _transposed_operands(editor, before, perm)
    if perm is None or operands is None:
        return False
    source, others = operands
    shape = editor.shape(source)
    moved = editor.new_value(None if shape is None else tuple(shape[axis] for axis in perm))
    inputs = [moved if name == source else others for name in before.input]
    editor.replace([before, node], [altered(node, [source], moved), altered(before, inputs, node.output[0])])
    return True


def merge_transposes(editor: Editor, node: onnx.NodeProto) -> bool:
    """Two Transposes in a row become one, and one that changes nothing is dropped."""
    perm = _perm(editor, node)
    if perm is None:
        return False
    if perm == sorted(perm):
        return editor.bypass(node, node.input[0])
    before = editor.maker(node.input[0])
    first = None if before is None else _perm(editor, before)
    if before is None or first is None or editor.only_user(before.output[0]) is not node:
        return False
    merged = altered(node, [before.input[0]], perm=[first[axis] for axis in perm])
    editor.replace([before, node], [merged])
    return True


def reshape_instead(editor: Editor, node: onnx.NodeProto) -> bool:
    """A Transpose that only moves axes of size 1 is a Reshape, which copies nothing."""
    shape, perm = editor.shape(node.output[0]), _perm(editor, node)
    if perm is None or not _is_static_but_batch(shape):
        return False
    order = [axis for axis in perm if axis == 0 or shape[perm.index(axis)] != 1]
    if order != sorted(order):
        return False
    editor.replace([node], [reshape_node(editor, node.input[0], node.output[0], shape)])
    return True


def merge_reshapes(editor: Editor, node: onnx.NodeProto) -> bool:
    """Two Reshapes in a row become one; one that changes nothing is dropped."""
    if node.op_type != "Reshape":
        return False
    before, shape = editor.maker(node.input[0]), editor.shape(node.output[0])
    if _is_static_but_batch(shape) and editor.shape(node.input[0]) == shape:
        return editor.bypass(node, node.input[0])
    if before is None or before.op_type != "Reshape" or not _is_static_but_batch(shape):
        return False
    editor.replace([node], [reshape_node(editor, before.input[0], node.output[0], shape)])
    return True


def hoist_reshape(editor: Editor, node: onnx.NodeProto) -> bool:
    """Add, Sub or Mul by one number, then Reshape: the Reshape comes first, so that the number meets the layer."""
    before = editor.maker(node.input[0]) if node.op_type == "Reshape" else None
    parts = None if before is None else constant_operand(editor, before)
    if before is None or parts is None or parts[1].size > 1 or editor.only_user(before.output[0]) is not node:
        return False
    shape = editor.shape(node.output[0])
    if not _is_static_but_batch(shape):
        return False
    number = editor.add_constant(parts[1].reshape(()))
    moved = editor.new_value(shape)
    inputs = [moved if name == parts[0] else number for name in before.input]
    reshaped = reshape_node(editor, parts[0], moved, shape)
    editor.replace([before, node], [reshaped, altered(before, inputs, node.output[0])])
    return True


def drop_tile(editor: Editor, node: onnx.NodeProto) -> bool:
    """Tile of axes of size 1, then Add, Sub or Mul by a constant of the full size: the arithmetic repeats by itself."""
    if node.op_type != "Tile":
        return False
    user = editor.only_user(node.output[0])
    parts = None if user is None else constant_operand(editor, user)
    repeats, shape = editor.constant(node.input[1]), editor.shape(node.input[0])
    if user is None or parts is None or repeats is None or shape is None or parts[1].ndim > len(shape):
        return False
    full = (1,) * (len(shape) - parts[1].ndim) + parts[1].shape
    if any(times > 1 and (size != 1 or times != has) for times, size, has in zip(repeats, shape, full, strict=True)):
        return False
    return editor.bypass(node, node.input[0])


def pool_globally(editor: Editor, node: onnx.NodeProto) -> bool:
    """Transpose to channels-last, then the mean over height and width: GlobalAveragePool of what lies there already."""
    before = editor.maker(node.input[0]) if node.op_type == "ReduceMean" else None
    if before is None or _perm(editor, before) != _TO_CHANNELS_LAST:
        return False
    axes = attribute(node, "axes") if len(node.input) < 2 else editor.constant(node.input[1])
    source = editor.shape(before.input[0])
    if axes is None or source is None or sorted(int(axis) % 4 for axis in axes) != [1, 2] or source[1] is None:
        return False
    keep = attribute(node, "keepdims", 1)
    pooled = editor.new_value((None, source[1], 1, 1))
    shape = (None, 1, 1, source[1]) if keep else (None, source[1])
    pool = helper.make_node("GlobalAveragePool", [before.input[0]], [pooled])
    editor.replace([node], [pool, reshape_node(editor, pooled, node.output[0], shape)])
    return True


def permute_dense(editor: Editor, node: onnx.NodeProto) -> bool:
    """Transpose to channels-last, flatten, dense layer: its weights' rows are put into channels-first order instead."""
    flat = editor.maker(node.input[0]) if node.op_type in ("Gemm", "MatMul") else None
    before = editor.maker(flat.input[0]) if flat is not None and flat.op_type == "Reshape" else None
    if flat is None or before is None:
        return False
    weights = editor.constant(node.input[1])
    if weights is None or weights.ndim != 2:
        return False
    shape = editor.shape(before.output[0])
    is_turned = _perm(editor, before) == _TO_CHANNELS_LAST
    if editor.only_user(flat.output[0]) is not node or not is_turned or not _is_static_but_batch(shape):
        return False
    is_plain = not attribute(node, "transA", 0) and not attribute(node, "transB", 0)
    if len(editor.shape(flat.output[0]) or ()) != 2 or not is_plain:
        return False  # an axis more would be lost, and transA makes the rows count images
    _, height, width, channels = shape
    if math.prod((height, width, channels)) != len(weights):
        return False
    rows = weights.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(weights.shape)
    between = editor.new_value((None, len(weights)))
    reshaped = reshape_node(editor, before.input[0], between, (None, len(weights)))
    editor.replace([flat, node], [reshaped, altered(node, [between, editor.add_constant(rows), *node.input[2:]])])
    return True


# ------------------------------------------------------------------------------------------------------------------
# Channels in another order: whatever says it becomes a Gather, which moves down into the convolution's weights


def gather_stacked_slices(editor: Editor, node: onnx.NodeProto) -> bool:
    """Concat of one-channel Slices of one value: a Gather."""
    axis = attribute(node, "axis") if node.op_type == "Concat" else None
    slices = [editor.maker(name) for name in node.input] if axis is not None else []
    if not slices or any(each is None or each.op_type != "Slice" for each in slices):
        return False
    source, rank = slices[0].input[0], len(editor.shape(node.output[0]) or ())
    picked = [_single_channel(editor, each, axis % rank, rank) if rank else None for each in slices]
    if any(each.input[0] != source for each in slices) or None in picked:
        return False
    order = editor.add_constant(np.asarray(picked, np.int64))
    editor.replace([node], [helper.make_node("Gather", [source, order], list(node.output), axis=axis % rank)])
    return True


def gather_reversed_slice(editor: Editor, node: onnx.NodeProto) -> bool:
    """A Slice of one whole axis with step -1: a Gather."""
    if node.op_type != "Slice":
        return False
    parts, shape = [editor.constant(name) for name in node.input[1:]], editor.shape(node.input[0])
    if len(parts) != 4 or any(each is None or each.size != 1 for each in parts) or shape is None:
        return False
    start, end, axis, step = (int(each.item()) for each in parts if each is not None)
    size = shape[axis]
    if step != -1 or size is None or (start != -1 and start < size - 1) or end >= -size:
        return False
    order = editor.add_constant(np.arange(size)[::-1].astype(np.int64))
    gather = helper.make_node("Gather", [node.input[0], order], list(node.output), axis=axis % len(shape))
    editor.replace([node], [gather])
    return True


def gather_reversed_sequence(editor: Editor, node: onnx.NodeProto) -> bool:
    """ReverseSequence over a whole axis, in the transposed form that tf.reverse is converted to: a Gather.

    Its lengths are computed from the very shape of what it reverses, so that each is the whole axis.
    """
    if node.op_type != "ReverseSequence":
        return False
    lengths, turned = editor.maker(node.input[1]), editor.maker(node.input[0])
    size = editor.maker(lengths.input[0]) if lengths is not None and lengths.op_type == "Expand" else None
    whole = editor.maker(size.input[0]) if size is not None and size.op_type == "Gather" else None
    perm = None if turned is None else _perm(editor, turned)
    if size is None or whole is None or turned is None or perm is None or whole.op_type != "Shape":
        return False
    axis, measured = attribute(node, "time_axis", 0), editor.constant(size.input[1])
    shape, original = editor.shape(turned.output[0]), turned.input[0]
    if whole.input[0] != original or measured is None or measured.size != 1 or shape is None or shape[axis] is None:
        return False
    if perm[axis] != measured.item():
        return False
    order = editor.add_constant(np.arange(shape[axis])[::-1].astype(np.int64))
    editor.replace([node], [helper.make_node("Gather", [node.input[0], order], list(node.output), axis=axis)])
    return True


def sink_gather(editor: Editor, node: onnx.NodeProto) -> bool:
    """A reordering of channels moves behind Add or Sub by a constant, behind a Transpose, and into a Conv."""
    order, after = _order(editor, node), editor.only_user(node.output[0])
    shape = editor.shape(node.input[0]) if order is not None else None
    if order is None or after is None or shape is None:
        return False
    axis, rank = attribute(node, "axis", 0) % len(shape), len(shape)
    if after.op_type == "Conv":
        return _fold_order(editor, node, after, order, axis)
    perm, inputs, moved_axis = _perm(editor, after), [node.input[0]], axis
    if perm is not None:
        moved_axis = perm.index(axis)
    else:
        parts = constant_operand(editor, after) if after.op_type in ("Add", "Sub") else None
        if parts is None or after.input[0] != node.output[0] or parts[1].ndim > rank:
            return False
        operand = parts[1].reshape((1,) * (rank - parts[1].ndim) + parts[1].shape)
        if operand.shape[axis] not in (1, len(order)):
            return False  # it repeats the single entry that was gathered
        restored = np.take(operand, np.argsort(order), axis) if operand.shape[axis] > 1 else operand
        inputs.append(editor.add_constant(restored))
    between = editor.new_value(editor.shape(after.output[0]))
    gather = altered(node, [between, node.input[1]], after.output[0], axis=moved_axis)
    editor.replace([node, after], [altered(after, inputs, between), gather])
    return True


# ------------------------------------------------------------------------------------------------------------------


def reshape_node(editor: Editor, source: str, output: str, shape: Sequence[int | None]) -> onnx.NodeProto:
    """A Reshape to a constant shape whose first axis, the batch, is left open."""
    target = editor.add_constant(np.asarray([-1, *shape[1:]], np.int64))
    return helper.make_node("Reshape", [source, target], [output])


def _is_static_but_batch(shape: Shape | None) -> bool:
    return shape is not None and len(shape) > 0 and shape[0] is None and None not in shape[1:]


def _perm(editor: Editor, node: onnx.NodeProto) -> list[int] | None:
    """Which axis a Transpose puts at each place, without `perm` all in reverse; None for any other node."""
    if node.op_type != "Transpose":
        return None
    perm, shape = attribute(node, "perm"), editor.shape(node.input[0])
    if perm is None:
        return None if shape is None else list(range(len(shape)))[::-1]
    return list(perm)


def _transposed_operands(editor: Editor, node: onnx.NodeProto, perm: list[int]) -> tuple[str, str] | None:
    """(the input that is moved, the name of the other one, turned by `perm`); None where a Transpose cannot pass."""
    if node.op_type == "Cast":
        return node.input[0], ""
    if node.op_type == "Tile":
        repeats = editor.constant(node.input[1])
        return None if repeats is None else (node.input[0], editor.add_constant(repeats[perm]))
    parts = constant_operand(editor, node)
    if parts is None or parts[1].ndim > len(perm) or len(editor.shape(parts[0]) or ()) != len(perm):
        return None  # a constant of more axes than the source adds axes that the source cannot be turned by
    if parts[1].size == 1:
        return parts[0], editor.add_constant(parts[1].reshape(()))
    full = parts[1].reshape((1,) * (len(perm) - parts[1].ndim) + parts[1].shape)
    return parts[0], editor.add_constant(full.transpose(perm))


def _single_channel(editor: Editor, node: onnx.NodeProto, axis: int, rank: int) -> int | None:
    """Which single entry of `axis` a Slice takes; None where it does anything else."""
    parts = [editor.constant(name) for name in node.input[1:]]
    if not 3 <= len(parts) <= 4 or any(each is None or each.size != 1 for each in parts):
        return None
    start, end, along = (int(each.item()) for each in parts[:3] if each is not None)
    is_single = along % rank == axis and end == start + 1 and start >= 0
    return start if is_single and (len(parts) == 3 or parts[3].item() == 1) else None


def _order(editor: Editor, node: onnx.NodeProto) -> np.ndarray | None:
    """The permutation that a Gather applies to a whole axis; None for any other node."""
    if node.op_type != "Gather":
        return None
    order, shape = editor.constant(node.input[1]), editor.shape(node.input[0])
    if order is None or order.ndim != 1 or shape is None or shape[attribute(node, "axis", 0)] != len(order):
        return None
    return order if sorted(order) == list(range(len(order))) else None


def _fold_order(editor: Editor, node: onnx.NodeProto, conv: onnx.NodeProto, order: np.ndarray, axis: int) -> bool:
    weights = editor.constant(conv.input[1])
    if axis != 1 or weights is None or attribute(conv, "group", 1) != 1 or conv.input[0] != node.output[0]:
        return False
    restored = editor.add_constant(weights[:, np.argsort(order)])
    editor.replace([node, conv], [altered(conv, [node.input[0], restored, *conv.input[2:]])])
    return True
