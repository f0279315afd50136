"""An fp32 graph as 8-bit arithmetic: unsigned levels between layers, signed weights with a scale for each output.

In: the graph, the ranges of its values, the means of its channels, the layers to leave in float. Out: a graph of the
same values with QuantizeLinear and DequantizeLinear around the layers (QDQ), which runtimes fuse into integer kernels.
Unsigned times signed, since x86 has an instruction for that (VNNI's vpdpbusd) and none for signed times signed; and as
QDQ, since a runtime that cannot fuse a layer computes it in float, rounded alike.

onnxruntime.quantization's QDQQuantizer writes the same kind of graph. It is not used because three things matter here
that it leaves to others: weights and biases are rounded together (rounding.py), a uint8 image is its own 8-bit levels
and needs no rounding at all, and a layer left in float has to be kept from ONNX Runtime, see `_guarded`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.editor import Editor, altered, inferred
from export.layers import (
    CARRIERS,
    Layer,
    activation_bounds,
    find_layers,
    num_groups,
    output_axis,
    weights_of,
)
from export.levels import Levels, stored_levels
from export.ranges import Range
from export.rounding import mean_shift, room_for_bias, to_levels, weight_scales

# Which ONNX Runtime would quantise itself, also those that are no layer here
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def values_to_calibrate(model: onnx.ModelProto) -> list[str]:
    """The values whose ranges and means `quantize` needs: what layers read and give, in the graph's order."""
    layers = find_layers(Editor(inferred(model)))
    return list(dict.fromkeys(name for layer in layers for name in (*layer.inputs, layer.output)))


def layer_scales(model: onnx.ModelProto) -> dict[str, Floats]:
    """The scales [O] of each weighted layer's outputs, by the layer's name, in the graph's order."""
    editor = Editor(inferred(model))
    weighted = (layer for layer in find_layers(editor) if layer.is_weighted)
    return {layer.name: weight_scales(_rows(layer, weights_of(editor, layer)[0])) for layer in weighted}


def quantize(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    means: Mapping[str, Doubles],
    scales: Mapping[str, Floats],
    *,
    in_float: Collection[str] = (),
) -> onnx.ModelProto:
    """The 8-bit form of `model`, with the layers named `in_float` left as they are.

    `ranges` and `means` ([C], per channel) are those of `values_to_calibrate`, `scales` those of `layer_scales`.
    """
    model = inferred(model)
    editor = Editor(model)
    layers = [layer for layer in find_layers(editor) if layer.name not in in_float]
    writer = _Writer(editor, layers, stored_levels(editor, layers, ranges), means, scales)
    for node in editor.nodes:
        writer.write(node)
    return writer.model(model)


# ------------------------------------------------------------------------------------------------------------------


class _Writer:
    """Writes an 8-bit graph node by node, in the order of the float one.

    A stored value keeps its name for what is read back from its levels, so that who reads it need not be changed.
    """

    def __init__(
        self,
        editor: Editor,
        layers: list[Layer],
        stored: Mapping[str, Levels],
        means: Mapping[str, Doubles],
        scales: Mapping[str, Floats],
    ) -> None:
        self._editor = editor
        self._layers = {id(layer.node): layer for layer in layers}
        self._in_float = {id(layer.node) for layer in find_layers(editor)} - set(self._layers)
        self._activations = {id(layer.activation) for layer in layers if layer.activation is not None}
        self._stored = stored
        self._means, self._scales = means, scales
        self._is_made_of_levels = set[str]()  # whose float form is not to be read
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, NDArray[np.generic]] = {}

    def write(self, node: onnx.NodeProto) -> None:
        """The 8-bit form of the next node."""
        if id(node) in self._layers:
            self._write_layer(self._layers[id(node)])
        elif id(node) not in self._activations:  # written with its layer
            name = node.output[0]
            is_carried = node.op_type in CARRIERS and name in self._stored and node.input[0] in self._stored
            if is_carried:
                self._is_made_of_levels.add(name)
            written = altered(node, node.input if is_carried else self._float_inputs(node))
            written.output[:] = [self._before(each) for each in node.output]
            self._nodes.append(written)
            for each in node.output:
                self._store(each)

    def model(self, original: onnx.ModelProto) -> onnx.ModelProto:
        """All that was written, without what nothing reads any more."""
        copy = onnx.ModelProto()
        copy.CopyFrom(original)
        del copy.graph.node[:], copy.graph.value_info[:]
        copy.graph.node.extend(self._nodes)
        tensors = (numpy_helper.from_array(np.asarray(array), name) for name, array in self._constants.items())
        copy.graph.initializer.extend(tensors)
        Editor(copy).finish()
        return copy

    def _write_layer(self, layer: Layer) -> None:
        """Node and activation; the activation is dropped where the levels end at its bounds anyway."""
        name, node = layer.output, layer.node
        inputs = self._write_weights(layer) if layer.is_weighted else list(node.input)
        made = self._before(name)
        activation = layer.activation
        if activation is not None and name in self._stored:
            lowest, highest = activation_bounds(self._editor, layer)
            first, last = self._stored[name].ends
            slack = 1e-3 * self._stored[name].scale  # 255 * (6 / 255) need not be 6 in float32
            if lowest <= first + slack and last - slack <= highest:
                activation = None
        if activation is None:
            self._nodes.append(altered(node, inputs, made))
        else:
            self._nodes.append(altered(node, inputs))
            self._nodes.append(altered(activation, output=made))
        self._is_made_of_levels.add(name)
        self._store(name)

    def _write_weights(self, layer: Layer) -> list[str]:
        """The layer's inputs: the value, and int8 weights and int32 bias, read back from their levels."""
        weights, bias = weights_of(self._editor, layer)
        axis, value = output_axis(layer), self._stored[layer.inputs[0]]
        rows = _rows(layer, weights)  # [O, K]
        float_bias = np.zeros(len(rows)) if bias is None else bias.astype(np.float64)
        scales = room_for_bias(self._scales[layer.name], float_bias, value.scale)
        levels = to_levels(rows, scales)
        placed = np.moveaxis(levels.reshape(np.moveaxis(weights, axis, 0).shape), 0, axis)
        inputs = [layer.inputs[0], self._read_back(f"{layer.name}.weights", placed, scales, axis)]
        if layer.node.op_type == "MatMul":  # has no bias to mend
            return inputs
        rounded = levels * scales.astype(np.float64)[:, None]  # [O, K]
        means = self._means[layer.inputs[0]] - value.offset
        error = (rounded - rows).reshape(len(rows), -1, _places(layer, weights)).sum(axis=2)  # [O, C / groups]
        mended = float_bias - mean_shift(error, means, num_groups(layer)) + value.offset * rows.sum(axis=1)
        bias_scales = (value.scale * scales.astype(np.float64)).astype(np.float32)
        bias_levels = np.rint(mended / bias_scales).astype(np.int32)
        return [*inputs, self._read_back(f"{layer.name}.bias", bias_levels, bias_scales, 0)]

    def _read_back(self, name: str, levels: NDArray[np.generic], scales: Floats, axis: int) -> str:
        """Constants as integers with a scale for each place on `axis`; returns the name of their float form."""
        self._constants[f"{name}.levels"] = levels
        self._constants[f"{name}.scale"] = scales
        self._constants[f"{name}.zero"] = np.zeros(len(scales), levels.dtype)
        parts = [f"{name}.levels", f"{name}.scale", f"{name}.zero"]
        self._nodes.append(helper.make_node("DequantizeLinear", parts, [name], f"{name}.read", axis=axis))
        return name

    def _before(self, name: str) -> str:
        """What a value is called before it is stored."""
        return f"{name}.float" if name in self._stored else name

    def _store(self, name: str) -> None:
        """Write a value's levels, and read them back under its name; of an image they are there already."""
        if name not in self._stored:
            return
        levels = self._stored[name]
        self._constants[f"{name}.scale"] = np.asarray(levels.scale, np.float32)
        self._constants[f"{name}.zero"] = np.asarray(levels.zero_point, np.uint8)
        parts = [f"{name}.scale", f"{name}.zero"]
        source = levels.image if name not in self._is_made_of_levels else ""
        if not source:
            source = f"{name}.levels"
            self._nodes.append(helper.make_node("QuantizeLinear", [f"{name}.float", *parts], [source], f"{name}.store"))
        self._nodes.append(helper.make_node("DequantizeLinear", [source, *parts], [name], f"{name}.read"))

    def _float_inputs(self, node: onnx.NodeProto) -> list[str]:
        """What a node in float reads: values as they were before they were stored, if they were made in float."""
        names = []
        for name in node.input:
            if name not in self._stored:
                names.append(name)
            elif name not in self._is_made_of_levels:
                names.append(f"{name}.float")
            else:
                is_guarded = id(node) in self._in_float or node.op_type in _PRODUCTS
                names.append(self._guarded(node, name) if is_guarded else name)
        return names

    def _guarded(self, node: onnx.NodeProto, name: str) -> str:
        """A stored value through a Clip that changes nothing, for a layer or a product that is to stay in float.

        Between a DequantizeLinear and a QuantizeLinear ONNX Runtime (its WeightBiasQuantization) quantises a layer's
        weights itself, with one scale for all of them: measured on the first depthwise layer of MobileNet, the cosine
        to fp32 falls from .99 to .70. It looks for a DequantizeLinear directly before the layer.
        """
        kept = f"{node.name}.{name}.kept"
        lowest, highest = self._stored[name].ends
        self._constants[f"{kept}.lowest"] = np.asarray(lowest, np.float32)
        self._constants[f"{kept}.highest"] = np.asarray(highest, np.float32)
        self._nodes.append(helper.make_node("Clip", [name, f"{kept}.lowest", f"{kept}.highest"], [kept], kept))
        return kept


def _rows(layer: Layer, weights: Floats) -> Floats:
    """A layer's weights with a row for each output: [O, K]."""
    axis = output_axis(layer)
    return np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)


def _places(layer: Layer, weights: Floats) -> int:
    """How many places of a kernel share an input channel."""
    return int(np.prod(weights.shape[2:])) if layer.node.op_type == "Conv" else 1
