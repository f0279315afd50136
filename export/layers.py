"""Which parts of a graph can be computed in 8 bits, and what of it is one step there.

In: an fp32 graph. Out: its layers: convolutions and dense layers with constant weights, sums and concatenations of
computed values, each with the activation behind it, since a runtime computes those as one and rounds once; and the
carriers (max pooling, reshapes, transposes), which pass levels on as they are. All else stays in float: averages and
norms, where 8 bits would lose what a whole image came to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from export.editor import Editor, attribute

CARRIERS = ("MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze")
_ACTIVATIONS = ("Relu", "Clip")
_JOINS = ("Add", "Concat")


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of 8-bit arithmetic, from `inputs` to `output`."""

    node: onnx.NodeProto
    activation: onnx.NodeProto | None  # a ReLU or Clip behind it, if nothing else reads what is before
    inputs: tuple[str, ...]  # computed values
    output: str  # behind the activation

    @property
    def name(self) -> str:
        """The name of its node."""
        return str(self.node.name)

    @property
    def is_weighted(self) -> bool:
        """Whether it multiplies by constant weights."""
        return self.node.op_type not in _JOINS

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """Its node, and its activation's."""
        return [self.node] if self.activation is None else [self.node, self.activation]


def find_layers(editor: Editor) -> list[Layer]:
    """The layers of the graph, in its order."""
    return [_layer(editor, node) for node in editor.nodes if _is_weighted(editor, node) or _is_join(editor, node)]


def num_groups(layer: Layer) -> int:
    """Of a convolution; 1 for any other layer."""
    return int(attribute(layer.node, "group", 1))


def output_axis(layer: Layer) -> int:
    """The axis of a weighted layer's weights along which each output has its own scale."""
    if layer.node.op_type == "Conv":
        return 0
    return 0 if layer.node.op_type == "Gemm" and attribute(layer.node, "transB", 0) else 1


def activation_bounds(editor: Editor, layer: Layer) -> tuple[float, float]:
    """The lowest and highest value that a layer's activation lets through."""
    if layer.activation is None:
        return -np.inf, np.inf
    if layer.activation.op_type == "Relu":
        return 0.0, np.inf
    bounds = [-np.inf, np.inf]
    for place, name in enumerate(layer.activation.input[1:]):
        if name:
            array = editor.constant(name)
            assert array is not None  # else it is not taken for an activation
            bounds[place] = float(array)
    return bounds[0], bounds[1]


def weights_of(editor: Editor, layer: Layer) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """A weighted layer's weights as they lie in the file, and its bias, one value for each output, or None."""
    weights = editor.constant(layer.node.input[1])
    assert weights is not None  # that is what makes it a weighted layer
    has_bias = len(layer.node.input) > 2 and layer.node.input[2]
    return weights, editor.constant(layer.node.input[2]) if has_bias else None


def _layer(editor: Editor, node: onnx.NodeProto) -> Layer:
    activation = editor.only_user(node.output[0])
    if activation is not None and not _is_activation(editor, activation):
        activation = None
    inputs = tuple(name for name in node.input if name and editor.constant(name) is None)
    return Layer(node, activation, inputs, (activation or node).output[0])


def _is_weighted(editor: Editor, node: onnx.NodeProto) -> bool:
    """A Conv, Gemm or MatMul of one computed value with two-dimensional (or a kernel's) constant weights."""
    if node.op_type not in ("Conv", "Gemm", "MatMul") or editor.constant(node.input[0]) is not None:
        return False
    weights = editor.constant(node.input[1])
    if weights is None or weights.dtype != np.float32 or (node.op_type != "Conv" and weights.ndim != 2):
        return False
    if node.op_type == "Gemm" and (attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)) != (1.0, 1.0):
        return False
    if node.op_type == "Gemm" and attribute(node, "transA", 0):
        return False
    if len(node.input) < 3 or not node.input[2]:
        return True
    bias, num_outputs = editor.constant(node.input[2]), weights.shape[output_axis(Layer(node, None, (), ""))]
    return bias is not None and bias.shape == (num_outputs,)


def _is_join(editor: Editor, node: onnx.NodeProto) -> bool:
    """A sum or concatenation of computed values; the sizes of a shape, which are integers, are none."""
    is_of_values = len(node.input) > 1 and all(editor.constant(name) is None for name in node.input)
    return node.op_type in _JOINS and is_of_values and editor.dtype(node.output[0]) == TensorProto.FLOAT


def _is_activation(editor: Editor, node: onnx.NodeProto) -> bool:
    return node.op_type in _ACTIVATIONS and all(editor.constant(name) is not None for name in node.input[1:] if name)
