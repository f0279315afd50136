"""What is found to be one step of 8-bit arithmetic."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from export.editor import Editor, inferred
from export.layers import activation_bounds, find_layers, num_groups, output_axis, weights_of


def _layers(model):
    editor = Editor(inferred(model))
    return editor, {layer.name: layer for layer in find_layers(editor)}


def test_layers_with_their_activations(mobile, residual):
    _, layers = _layers(mobile)
    assert [(each.inputs, each.output) for each in layers.values()] == [
        (("centred",), "a1"), (("a1",), "a2"), (("a2",), "a3"),
    ]  # fmt: skip
    assert num_groups(layers["conv_2"]) == 8
    _, layers = _layers(residual)
    assert list(layers) == ["conv_1", "conv_2", "add", "gemm_3", "gemm_4"]
    assert layers["conv_2"].activation is None
    assert layers["add"].inputs == ("y2", "p")
    assert layers["add"].output == "a2"
    assert [layers[name].is_weighted for name in layers] == [True, True, False, True, True]


def test_axes_bounds_and_weights(mobile, residual):
    editor, layers = _layers(mobile)
    assert activation_bounds(editor, layers["conv_1"]) == (0.0, 6.0)
    editor, layers = _layers(residual)
    assert activation_bounds(editor, layers["conv_1"]) == (0.0, np.inf)
    assert activation_bounds(editor, layers["conv_2"]) == (-np.inf, np.inf)
    assert [output_axis(layers[name]) for name in ("conv_1", "gemm_3", "gemm_4")] == [0, 1, 0]
    weights, bias = weights_of(editor, layers["gemm_3"])
    assert weights.shape == (512, 32)
    assert bias.shape == (32,)


def test_what_cannot_be_one_stays_out(build):
    """An activation whose input something else reads; arithmetic with a constant; a product of two computed values."""
    make = helper.make_node
    nodes = [
        make("Gemm", ["image", "w"], ["y"], "gemm"),
        make("Relu", ["y"], ["a"], "relu"),
        make("Add", ["y", "one"], ["s"], "shift"),
        make("Mul", ["a", "s"], ["p"], "mul"),
        make("Gemm", ["p", "w"], ["h"], "halved", alpha=0.5),
        make("Transpose", ["h"], ["t"], "transpose", perm=[1, 0]),
        make("MatMul", ["h", "t"], ["g"], "gram"),
        make("MatMul", ["g", "h"], ["embedding"], "mix"),
    ]
    constants = {"w": np.eye(4, dtype=np.float32), "one": np.float32(1)}
    model = build(nodes, constants, image=(4,), embedding=(4,), dtype=TensorProto.FLOAT)
    _, layers = _layers(model)
    assert list(layers) == ["gemm"]
    assert layers["gemm"].activation is None
    assert layers["gemm"].output == "y"
