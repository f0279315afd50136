"""Half precision: what is in it and what is not, that its roundings are really made, and what it cannot hold."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.calibration import open_session
from export.graph import check
from export.half import embed_rounded, nodes_in_half, to_half
from semblance.errors import ModelError


def _embed(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    return open_session(model).run(["embedding"], {"image": images})[0]


@pytest.mark.parametrize("name", ["mobile", "residual"])
def test_it_is_a_sound_graph_from_bytes_to_float32(name, pictures, request):
    model = request.getfixturevalue(name)
    half = to_half(model)
    check(half)
    made: set[str] = {each.name for each in (*half.graph.input, *half.graph.initializer)}
    for node in half.graph.node:
        assert set(node.input) - {""} <= made, "each node behind those that it depends on"
        made.update(node.output)
    assert half.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert half.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert half.ByteSize() < model.ByteSize()
    np.testing.assert_allclose(_embed(half, pictures), _embed(model, pictures), atol=0.01, rtol=0.01)


def test_preprocessing_averages_and_norm_stay_in_fp32(mobile):
    half = to_half(mobile)
    in_half = nodes_in_half(half)
    assert in_half == ["conv_1", "clip_1", "conv_2", "clip_2", "conv_3", "clip_3"]
    kept = {node.name for node in half.graph.node if node.op_type != "Cast"} - set(in_half)
    assert kept == {"transpose", "sub", "mean", "flatten", "length", "bound", "normalize"}
    weights = {each.name: each.data_type for each in half.graph.initializer}
    assert weights["w1.half"] == weights["six.half"] == TensorProto.FLOAT16
    assert weights["middle"] == weights["least"] == TensorProto.FLOAT
    assert "w1" not in weights


def test_pools_sums_and_dense_layers_are_in_half(residual):
    assert nodes_in_half(to_half(residual)) == [
        "conv_1", "relu_1", "pool", "conv_2", "add", "relu_2", "flatten", "gemm_3", "relu_3", "gemm_4"
    ]  # fmt: skip


def _sum_model(build, weights, **options) -> onnx.ModelProto:
    """embedding = (image @ weights) @ identity, so that a rounding between shows."""
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], "cast", to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "w"], ["y"], "first"),
        helper.make_node("MatMul", ["y", "one"], ["embedding"], "second"),
    ]
    constants = {"w": np.asarray(weights, np.float32), "one": np.eye(1, dtype=np.float32)}
    return build(nodes, constants, image=(2,), embedding=(1,), dtype=TensorProto.UINT8, **options)


def test_values_between_layers_are_rounded(build):
    """2,049 has twelve bits and a half eleven, so it is 2,048; ONNX Runtime's own session on a CPU need not say so."""
    half = to_half(_sum_model(build, [[8], [1]]))
    images = np.asarray([[255, 9], [255, 8]], np.uint8)  # 2,049 and 2,048
    assert embed_rounded(half, images).ravel().tolist() == [2048, 2048]


def _plain(residual: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """The network of that fixture in numpy: sums in float32, each value rounded to half where it is stored."""
    constants = {each.name: numpy_helper.to_array(each) for each in residual.graph.initializer}

    def half(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float16).astype(np.float32)

    def convolved(values: np.ndarray, number: int) -> np.ndarray:
        padded = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        sums = np.einsum("nchwij,ocij->nohw", windows, half(constants[f"w{number}"]), optimize=True)
        return half(sums + half(constants[f"b{number}"]).reshape(1, -1, 1, 1))

    first = np.maximum(convolved(images.transpose(0, 3, 1, 2).astype(np.float32), 1), 0)  # bytes are halves already
    pooled = first.reshape(len(images), 8, 8, 2, 8, 2).max(axis=(3, 5))
    block = np.maximum(half(convolved(pooled, 2) + pooled), 0)
    dense = half(block.reshape(len(images), -1) @ half(constants["w3"]) + half(constants["b3"]))
    return half(np.maximum(dense, 0) @ half(constants["w4"]).T + half(constants["b4"]))


def test_roundings_are_those_of_a_plain_computation(residual, pictures):
    """Sums in another order round to a neighbour now and then; a rounding left out would show in every value."""
    given = embed_rounded(to_half(residual), pictures)
    expected = _plain(residual, pictures)
    assert (given == expected).mean() > 0.95
    np.testing.assert_allclose(given, expected, atol=2e-3)
    np.testing.assert_array_equal(given, given.astype(np.float16))  # the last layer's values are halves


@pytest.mark.parametrize("weight", [300.0, -300.0])
def test_an_overflow_is_found_and_named(build, weight):
    half = to_half(_sum_model(build, [[weight], [0]]))
    assert np.isfinite(embed_rounded(half, np.asarray([[200, 0]], np.uint8))).all()
    with pytest.raises(ModelError, match=r"y reaches 76,500, a half holds 65,504"):
        embed_rounded(half, np.asarray([[200, 0], [255, 0]], np.uint8))


def test_an_overflow_that_an_activation_hides_is_found(mobile, pictures):
    (bias,) = (each for each in mobile.graph.initializer if each.name == "b2")
    bias.CopyFrom(numpy_helper.from_array(np.full(8, 65_000, np.float32), "b2"))
    (weights,) = (each for each in mobile.graph.initializer if each.name == "w2")
    weights.CopyFrom(numpy_helper.from_array(np.full((8, 1, 3, 3), 1_000, np.float32), "w2"))
    with pytest.raises(ModelError, match="y2 reaches"):
        embed_rounded(to_half(mobile), pictures)


def test_a_weight_beyond_halves_is_refused_not_cut(build):
    with pytest.raises(ModelError, match=r"w has 70,000"):
        to_half(_sum_model(build, [[70_000], [0]]))


def test_a_shape_that_is_computed_stays_in_integers(build, pictures):
    make = helper.make_node
    nodes = [
        make("Cast", ["image"], ["c"], "cast", to=TensorProto.FLOAT),
        make("Conv", ["c", "w"], ["y"], "conv"),
        make("Shape", ["y"], ["batch"], "shape", start=0, end=1),
        make("Concat", ["batch", "rest"], ["shape"], "concat", axis=0),
        make("Reshape", ["y", "shape"], ["embedding"], "reshape"),
    ]
    constants = {"w": np.full((1, 16, 16, 3), 2**-12, np.float32), "rest": np.asarray([1])}
    model = build(nodes, constants, image=(16, 16, 3), embedding=(1,), dtype=TensorProto.UINT8)
    half = to_half(model)
    check(half)
    assert nodes_in_half(half) == ["conv", "reshape"]
    np.testing.assert_allclose(embed_rounded(half, pictures), _embed(model, pictures), rtol=1e-3)


def test_the_same_twice(mobile):
    assert to_half(mobile).SerializeToString() == to_half(mobile).SerializeToString()
