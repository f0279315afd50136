"""The passes over a whole graph: the converter's flatten, names, dead ends."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.simplify import fix_reshapes, shape_arithmetic, simplify, with_short_names

rng = np.random.default_rng(3)


def node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def _flatten(build) -> onnx.ModelProto:
    """Channels-first features, flattened channels-last as a converter does where the batch is unknown, then dense."""
    nodes = [
        node("Transpose", "image", "t", perm=[0, 2, 3, 1]),
        node("Shape", "image", "shape"),
        node("Gather", "shape order", "ordered"),
        node("Cast", "ordered", "narrow", to=TensorProto.INT32),
        node("Slice", "narrow zero one zero", "batch"),
        node("Concat", "batch rest", "both", axis=0),
        node("Cast", "both", "target", to=TensorProto.INT64),
        node("Reshape", "t target", "flat"),
        node("MatMul", "flat w", "m"),
        node("Add", "m b", "embedding"),
    ]
    constants = {
        "order": np.asarray([0, 2, 3, 1]),
        "zero": np.asarray([0]),
        "one": np.asarray([1]),
        "rest": np.asarray([24], np.int32),
        "w": rng.normal(size=(24, 5)).astype(np.float32),
        "b": rng.normal(size=5).astype(np.float32),
    }
    return build(nodes, constants, image=(4, 2, 3), embedding=(5,))


def test_the_flatten_of_an_unknown_batch_gets_a_constant_shape(build, run):
    model = _flatten(build)
    fixed = fix_reshapes(model)
    assert shape_arithmetic(with_short_names(model)) == ["shape_1"]
    assert not shape_arithmetic(fixed)
    assert [each.op_type for each in fixed.graph.node] == ["Transpose", "Reshape", "MatMul", "Add"]
    for batch in (1, 3):
        images = rng.normal(size=(batch, 4, 2, 3)).astype(np.float32)
        np.testing.assert_array_equal(run(fixed, images), run(model, images))


def test_a_whole_flatten_and_dense_layer_become_two_nodes(build, run):
    model = _flatten(build)
    simple = simplify(model)
    assert [each.op_type for each in simple.graph.node] == ["Reshape", "Gemm"]
    onnx.checker.check_model(simple, full_check=True)
    images = rng.normal(size=(2, 4, 2, 3)).astype(np.float32)
    np.testing.assert_allclose(run(simple, images), run(model, images), atol=1e-5)
    assert len(simple.graph.initializer) == 3  # what nothing reads any more is gone


def test_the_model_that_was_given_is_not_changed(build):
    model = _flatten(build)
    before = model.SerializeToString()
    simplify(model)
    assert model.SerializeToString() == before


def test_names_do_not_depend_on_the_converter(build):
    """Keras counts its layers on within a process; the same model must still give the same file."""
    model, other = _flatten(build), onnx.ModelProto()
    other.CopyFrom(model)
    renamed = {"t": "functional_3/t:0", "flat": "functional_3/flat:0", "w": "dense_7/kernel:0", "m": "a", "rest": "z"}
    for each in other.graph.node:
        each.input[:] = [renamed.get(name, name) for name in each.input]
        each.output[:] = [renamed.get(name, name) for name in each.output]
    for tensor in other.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    constants = {each.name: each for each in model.graph.initializer}
    for tensor in other.graph.initializer:  # the same weights as the first
        original = constants[{new: old for old, new in renamed.items()}.get(tensor.name, tensor.name)]
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(original), tensor.name))
    assert simplify(other).SerializeToString() == simplify(model).SerializeToString()
