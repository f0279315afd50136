"""Rows and columns that reach no output are cut off, and only those."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export.crop import crop_unseen

rng = np.random.default_rng(5)


def node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def _network(build, *, size: int, out: int, channels: int = 1, end_pads: int = 0) -> onnx.ModelProto:
    """The layers of the Siamese network: conv 3x3, pool 2, conv 3x3, pool 2, flatten."""
    pads = [0, 0, end_pads, end_pads]
    entry = node("Reshape", "p s", "x") if channels == 1 else node("Transpose", "p", "x", perm=[0, 3, 1, 2])
    nodes = [
        node("Cast", "image", "p", to=TensorProto.FLOAT),
        entry,
        node("Conv", "x w b", "c1"),
        node("Relu", "c1", "r1"),
        node("MaxPool", "r1", "p1", kernel_shape=[2, 2], strides=[2, 2], pads=pads),
        node("Conv", "p1 v", "c2"),
        node("MaxPool", "c2", "p2", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", "p2 flat", "embedding"),
    ]
    constants = {
        "w": rng.normal(size=(4, channels, 3, 3)).astype(np.float32),
        "b": rng.normal(size=4).astype(np.float32),
        "v": rng.normal(size=(5, 4, 3, 3)).astype(np.float32),
        "flat": np.asarray([-1, 5 * out * out]),
    } | ({"s": np.asarray([-1, 1, size, size])} if channels == 1 else {})
    image = (size, size, channels)
    return build(nodes, constants, image=image, embedding=(5 * out * out,), dtype=TensorProto.UINT8)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_siamese_layers_need_26_of_28(build, run, channels):
    model = _network(build, size=28, out=5, channels=channels)
    cropped = crop_unseen(model)
    assert cropped.graph.node[0].op_type == "Slice"
    ends = next(each for each in cropped.graph.initializer if each.name == cropped.graph.node[0].input[2])
    assert onnx.numpy_helper.to_array(ends).tolist() == [26, 26]
    images = rng.integers(0, 256, (3, 28, 28, channels), dtype=np.uint8)
    np.testing.assert_array_equal(run(cropped, images), run(model, images))


@pytest.mark.parametrize(("size", "out", "end_pads"), [(26, 5, 0), (27, 5, 1)])
def test_an_image_that_is_seen_whole_stays_whole(build, size, out, end_pads):
    """Padding at the end must stay at the image's end, so nothing before it may be cut."""
    model = _network(build, size=size, out=out, end_pads=end_pads)
    assert [each.op_type for each in crop_unseen(model).graph.node] == [each.op_type for each in model.graph.node]


def test_a_graph_without_layers_is_left_alone(build):
    nodes = [node("Cast", "image", "p", to=TensorProto.FLOAT), node("Reshape", "p s", "embedding")]
    model = build(nodes, {"s": np.asarray([-1, 12])}, image=(2, 2, 3), embedding=(12,), dtype=TensorProto.UINT8)
    assert [each.op_type for each in crop_unseen(model).graph.node] == ["Cast", "Reshape"]


def _with_arithmetic(build, constant: np.ndarray, *, channels: int) -> onnx.ModelProto:
    """The Siamese layers on 28x28 with a Mul by `constant` between the Cast and the entry."""
    model = _network(build, size=28, out=5, channels=channels)
    cast, entry, *layers = model.graph.node
    entry.input[0] = "scaled"
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer} | {"k": constant}
    nodes = [cast, node("Mul", "p k", "scaled"), entry, *layers]
    return build(nodes, constants, image=(28, 28, channels), embedding=(125,), dtype=TensorProto.UINT8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(28, 1, 1), (1, 28, 1, 1), (28, 1)])
def test_an_image_with_a_constant_per_row_or_column_stays_whole(build, run, channels, shape):
    """Channels come last before the entry, so [28, 1, 1] is one number per row, of which all 28 must stay."""
    model = _with_arithmetic(build, rng.normal(size=shape).astype(np.float32), channels=channels)
    kept = crop_unseen(model)
    assert [each.op_type for each in kept.graph.node] == [each.op_type for each in model.graph.node]
    images = rng.integers(0, 256, (2, 28, 28, channels), dtype=np.uint8)
    np.testing.assert_array_equal(run(kept, images), run(model, images))


@pytest.mark.parametrize("shape", [(3,), (1, 1, 3), (1, 1, 1, 3), ()])
def test_a_constant_per_channel_before_the_entry_is_passed(build, run, shape):
    model = _with_arithmetic(build, np.asarray(rng.normal(size=shape), np.float32), channels=3)
    cropped = crop_unseen(model)
    assert cropped.graph.node[0].op_type == "Slice"
    images = rng.integers(0, 256, (2, 28, 28, 3), dtype=np.uint8)
    np.testing.assert_array_equal(run(cropped, images), run(model, images))


def test_a_constant_that_stands_before_the_image_is_kept(build, run):
    """The image may be the second of a Mul's two inputs, and is the one that is cut."""
    model = _with_arithmetic(build, np.float32(0.5).reshape(()), channels=3)
    _, multiply, *rest = model.graph.node
    multiply.input[:] = ["k", "image"]
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    model = build([multiply, *rest], constants, image=(28, 28, 3), embedding=(125,))
    cropped = crop_unseen(model)
    assert cropped.graph.node[0].op_type == "Slice"
    images = rng.normal(size=(2, 28, 28, 3)).astype(np.float32)
    np.testing.assert_array_equal(run(cropped, images), run(model, images))


def test_a_transpose_without_perm_is_no_entry(build, run):
    """It moves the batch to the end: nothing is known of rows and columns behind it."""
    nodes = [
        node("Transpose", "image", "x"),
        node("Transpose", "x", "y"),
        node("Transpose", "y", "z", perm=[0, 3, 1, 2]),
        node("MaxPool", "z", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", "m s", "embedding"),
    ]
    model = build(nodes, {"s": np.asarray([-1, 12])}, image=(5, 5, 3), embedding=(12,))
    kept = crop_unseen(model)
    assert [each.op_type for each in kept.graph.node] == [each.op_type for each in model.graph.node]
    images = rng.normal(size=(2, 5, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(run(kept, images), run(model, images))
