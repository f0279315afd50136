"""One ONNX graph from `image` uint8 [N, H, W, C] to `embedding` float32 [N, D], out of an original and its network.

In: what models/ opened. Out: a checked ModelProto without a card. The original's own path is traced as it is, but for
the L2 normalisation: TensorFlow's becomes nine nodes, three say the same.
"""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.editor import inferred, known_shapes
from export.simplify import simplify
from models.weights import Opened, own_path
from semblance.errors import InputError

OPSETS = (17, 18)  # what the converter is tested with; later ones bring these graphs nothing
BATCH_AXIS = "N"
_SMALLEST_NORM = 1e-6  # the root of the 1e-12 that tf.math.l2_normalize bounds the sum of squares with


def build_graph(opened: Opened, *, opset: int = 18) -> onnx.ModelProto:
    """The whole way from image to embedding as one simplified, checked graph.

    Raises InputError for another opset than 17 or 18.
    """
    if opset not in OPSETS:
        raise InputError(f"opset must be one of {OPSETS}, is {opset}")
    model = simplify(named_batch(convert(opened, opset)))
    if opened.original.unit_length:
        model = normalized(model)
    model.graph.name = opened.original.name
    _state_output_shape(model)
    check(model)
    return model


def convert(opened: Opened, opset: int) -> onnx.ModelProto:
    """The original's own path without its normalisation, as tf2onnx converts it, with our input and output names."""
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    original = dataclasses.replace(opened.original, unit_length=False)
    embed = own_path(original, opened.network)
    spec = tf.TensorSpec([None, original.height, original.width, original.channels], tf.uint8, name="image")
    function = tf.function(lambda image: tf.identity(embed(image), name="embedding"), input_signature=[spec])
    model, _ = tf2onnx.convert.from_function(function, input_signature=[spec], opset=opset)
    return with_output_name(model, "embedding")


def with_output_name(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model, its only output called `name`."""
    (output,) = model.graph.output
    for node in model.graph.node:
        node.input[:] = [name if each == output.name else each for each in node.input]
        node.output[:] = [name if each == output.name else each for each in node.output]
    output.name = name
    return model


def named_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose input and output share one symbolic first axis, with all other sizes inferred."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for info in (copy.graph.input[0], copy.graph.output[0]):
        info.type.tensor_type.shape.dim[0].dim_param = BATCH_AXIS
    del copy.opset_import[:]
    copy.opset_import.extend(each for each in model.opset_import if each.domain in ("", "ai.onnx"))
    del copy.graph.value_info[:]
    copy.doc_string = copy.graph.doc_string = copy.producer_version = ""  # they count on, or name a version
    copy.producer_name = "semblance"
    return inferred(copy)


def normalized(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose embeddings [N, D] are divided by their length, or by 1e-6 where they are shorter.

    y = x / max(|x|, 1e-6), which is tf.math.l2_normalize's x * rsqrt(max(sum(x^2), 1e-12)). ReduceL2, Max and Div run
    on every GPU provider; LpNormalization only on the CPU.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    output = graph.output[0].name
    for node in graph.node:
        node.input[:] = ["features" if each == output else each for each in node.input]
        node.output[:] = ["features" if each == output else each for each in node.output]
    smallest = numpy_helper.from_array(np.float32(_SMALLEST_NORM), "smallest_norm")
    graph.initializer.append(smallest)
    graph.node.extend([_length_node(copy), helper.make_node("Max", ["length", "smallest_norm"], ["divisor"], "bound")])
    graph.node.append(helper.make_node("Div", ["features", "divisor"], [output], "normalize"))
    return copy


def dimension_of(model: onnx.ModelProto) -> int:
    """D of the graph's [N, D] output."""
    shape = known_shapes(model)[model.graph.output[0].name]
    if len(shape) != 2 or shape[1] is None:
        raise InputError(
            f"the embedding would have the shape {list(shape)}, and [N, D] is expected; cut at another layer, or pool "
            "with --pooling flatten or --pooling average"
        )
    return shape[1]


def check(model: onnx.ModelProto) -> None:
    """onnx's own full check, and a strict inference of every shape. Raises what onnx raises: it is our mistake."""
    onnx.checker.check_model(model, full_check=True)
    inferred(model)
    dimension_of(model)


def _state_output_shape(model: onnx.ModelProto) -> None:
    """[N, D] with D as a number: the converter may leave a name there, another one each time."""
    shape = known_shapes(inferred(model))[model.graph.output[0].name]
    sizes = model.graph.output[0].type.tensor_type.shape.dim
    for size, known in zip(sizes, shape, strict=True):
        if known is not None:
            size.dim_value = known


def _length_node(model: onnx.ModelProto) -> onnx.NodeProto:
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset < 18:  # the axes were an attribute then
        return helper.make_node("ReduceL2", ["features"], ["length"], "length", axes=[1], keepdims=1)
    model.graph.initializer.append(numpy_helper.from_array(np.asarray([1], np.int64), "length_axes"))
    return helper.make_node("ReduceL2", ["features", "length_axes"], ["length"], "length", keepdims=1)
