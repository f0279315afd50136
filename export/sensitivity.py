"""How much each layer's own rounding changes what it gives: which layers to leave in float first.

In: an fp32 graph, ranges and means, images. Out: a signal-to-noise ratio for each weighted layer. Every layer is made
8-bit alone and fed what it meets in the fp32 network, so that one pass over few images ranks all of them, where a trial
of each would take as many evaluations as there are layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.calibration import batch_size, in_batches, open_session, with_outputs
from export.editor import Editor, inferred
from export.layers import Layer, find_layers
from export.quantize import quantize
from export.ranges import Range

_GIVEN = "given"  # the input of a layer by itself


def layer_snr_db(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    means: Mapping[str, NDArray[np.float64]],
    scales: Mapping[str, NDArray[np.float32]],
    images: NDArray[np.uint8],
) -> dict[str, float]:
    """10 log10(sum y^2 / sum (y - y8)^2) of each weighted layer's output y over `images` [N, H, W, C] uint8, in dB.

    Ascending: the layer that suffers most comes first. Infinite where nothing changes.
    """
    model = inferred(model)
    editor = Editor(model)
    layers = [layer for layer in find_layers(editor) if layer.is_weighted]
    alone = {layer.name: open_session(quantize(_only(model, editor, layer), ranges, means, scales)) for layer in layers}
    values = list(dict.fromkeys(name for layer in layers for name in (layer.inputs[0], layer.output)))
    session = open_session(with_outputs(model, values))
    signal, noise = dict.fromkeys(alone, 0.0), dict.fromkeys(alone, 0.0)
    for batch in in_batches(images, batch_size(session, values, images)):
        arrays = dict(zip(values, session.run(values, {"image": batch}), strict=True))
        for layer in layers:
            expected = arrays[layer.output]
            (given,) = alone[layer.name].run([layer.output], {_GIVEN: arrays[layer.inputs[0]]})
            signal[layer.name] += float(np.square(expected, dtype=np.float64).sum())
            noise[layer.name] += float(np.square(expected - given, dtype=np.float64).sum())
    snr = {name: _decibels(signal[name], noise[name]) for name in alone}
    return dict(sorted(snr.items(), key=lambda each: each[1]))


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _only(model: onnx.ModelProto, editor: Editor, layer: Layer) -> onnx.ModelProto:
    """A model of one layer and its activation, from an input of its own to the layer's output."""
    read = {name for node in layer.nodes for name in node.input}
    value = layer.inputs[0]
    graph = helper.make_graph(
        [helper.make_node("Identity", [_GIVEN], [value], "give"), *layer.nodes],
        layer.name,
        [helper.make_tensor_value_info(_GIVEN, TensorProto.FLOAT, _sizes(editor, value))],
        [helper.make_tensor_value_info(layer.output, TensorProto.FLOAT, _sizes(editor, layer.output))],
        [tensor for tensor in model.graph.initializer if tensor.name in read],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _sizes(editor: Editor, name: str) -> list[str | int]:
    return ["N" if size is None else size for size in editor.shape(name) or ()]
