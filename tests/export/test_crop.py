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
