"""Each folding rule on a tiny graph: the same numbers with fewer nodes, and nothing where it would be wrong."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export import folds, moves
from export.simplify import RULES, apply_rules

rng = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (1,), ()])
@pytest.mark.parametrize("kind", ["Mul", "Add", "Sub"])
@pytest.mark.parametrize("has_bias", [True, False])
def test_arithmetic_per_channel_goes_into_the_convolution(build, run, kind, shape, has_bias):
    constants = {"w": normal(4, 3, 3, 3), "c": normal(*shape)} | ({"b": normal(4)} if has_bias else {})
    conv = node("Conv", "image w b" if has_bias else "image w", "x", pads=[1, 1, 1, 1])
    model = build([conv, node(kind, "x c", "embedding")], constants, image=(3, 6, 6), embedding=(4, 6, 6))
    folded = apply_rules(model, [folds.fold_into_producer])
    assert kinds(folded) == ["Conv"]
    images = normal(2, 3, 6, 6)
    np.testing.assert_allclose(run(folded, images), run(model, images), atol=1e-5)


def test_arithmetic_along_the_width_stays(build):
    nodes = [node("Conv", "image w", "x", pads=[1, 1, 1, 1]), node("Mul", "x c", "embedding")]
    model = build(nodes, {"w": normal(4, 3, 3, 3), "c": normal(4)}, image=(3, 4, 4), embedding=(4, 4, 4))
    assert kinds(apply_rules(model, [folds.fold_into_producer])) == ["Conv", "Mul"]


def test_a_convolution_that_something_else_reads_stays(build):
    nodes = [node("Conv", "image w", "x"), node("Mul", "x c", "y"), node("Add", "x y", "embedding")]
    model = build(nodes, {"w": normal(4, 3, 1, 1), "c": normal(4, 1, 1)}, image=(3, 4, 4), embedding=(4, 4, 4))
    assert kinds(apply_rules(model, [folds.fold_into_producer])) == ["Conv", "Mul", "Add"]


def test_batch_normalization_goes_into_the_convolution(build, run):
    statistics = {"gamma": normal(6), "beta": normal(6), "mean": normal(6), "variance": np.abs(normal(6)) + 0.1}
    nodes = [
        node("Conv", "image w", "x", group=3),  # depthwise, as in MobileNet
        node("BatchNormalization", "x gamma beta mean variance", "embedding", epsilon=1e-3),
    ]
    model = build(nodes, {"w": normal(6, 1, 3, 3), **statistics}, image=(3, 5, 5), embedding=(6, 3, 3))
    folded = apply_rules(model, [folds.fold_into_producer])
    assert kinds(folded) == ["Conv"]
    images = normal(3, 3, 5, 5)
    np.testing.assert_allclose(run(folded, images), run(model, images), atol=1e-5)


@pytest.mark.parametrize("transposed", [0, 1])
def test_arithmetic_goes_into_a_dense_layer(build, run, transposed):
    weights = normal(5, 4) if transposed else normal(4, 5)
    nodes = [
        node("Gemm", "image w b", "x", transB=transposed),
        node("Mul", "x m", "y"),
        node("Add", "y a", "embedding"),
    ]
    constants = {"w": weights, "b": normal(5), "m": normal(5), "a": normal(5)}
    model = build(nodes, constants, image=(4,), embedding=(5,))
    folded = apply_rules(model, [folds.fold_into_producer])
    assert kinds(folded) == ["Gemm"]
    images = normal(3, 4)
    np.testing.assert_allclose(run(folded, images), run(model, images), atol=1e-5)


def test_matmul_and_bias_become_one_gemm(build, run):
    nodes = [node("MatMul", "image w", "x"), node("Add", "b x", "embedding")]
    model = build(nodes, {"w": normal(4, 5), "b": normal(5)}, image=(4,), embedding=(5,))
    folded = apply_rules(model, [folds.gemm_of_matmul, folds.fold_into_producer])
    assert kinds(folded) == ["Gemm"]
    images = normal(3, 4)
    np.testing.assert_allclose(run(folded, images), run(model, images), atol=1e-6)


def test_matmul_of_a_feature_map_stays_as_gemm_takes_two_axes(build):
    nodes = [node("MatMul", "image w", "x"), node("Add", "x b", "embedding")]
    model = build(nodes, {"w": normal(4, 5), "b": normal(5)}, image=(3, 4), embedding=(3, 5))
    assert kinds(apply_rules(model, [folds.gemm_of_matmul, folds.fold_into_producer])) == ["MatMul", "Add"]


@pytest.mark.parametrize("factor", [np.float32(1 / 255), normal(3, 1, 1)])
@pytest.mark.parametrize("offset", [None, normal(3, 1, 1)])
def test_scaled_pixels_are_scaled_by_the_first_convolution(build, run, factor, offset):
    nodes = [node("Cast", "image", "p", to=TensorProto.FLOAT), node("Mul", "p s", "x")]
    if offset is not None:
        nodes.append(node("Sub", "x o", "y"))
    nodes.append(node("Conv", "y w" if offset is not None else "x w", "embedding", pads=[1, 1, 1, 1]))
    constants = {"s": np.asarray(factor), "w": normal(4, 3, 3, 3)} | ({} if offset is None else {"o": offset})
    model = build(nodes, constants, image=(3, 5, 5), embedding=(4, 5, 5), dtype=TensorProto.UINT8)
    folded = apply_rules(model, [folds.sink_scale, folds.fold_scale_into_conv])
    assert kinds(folded) == ["Cast", *([] if offset is None else ["Sub"]), "Conv"]
    images = rng.integers(0, 256, (2, 3, 5, 5), dtype=np.uint8)
    expected = run(model, images)
    np.testing.assert_allclose(run(folded, images), expected, atol=1e-6 * np.abs(expected).max())


def test_scaled_features_keep_their_order(build):
    """Moving a scale behind an offset divides by it, which only what comes from pixels is safe from."""
    nodes = [node("Relu", "image", "r"), node("Mul", "r s", "x"), node("Add", "x o", "embedding")]
    model = build(nodes, {"s": normal(5), "o": normal(5)}, image=(5,), embedding=(5,))
    assert kinds(apply_rules(model, [folds.sink_scale])) == ["Relu", "Mul", "Add"]


@pytest.mark.parametrize("layer", ["Conv", "MaxPool"])
def test_zero_padding_goes_into_the_layer(build, run, layer):
    pads = np.asarray([0, 0, 0, 1, 0, 0, 2, 1], np.int64)
    end = (
        node("Conv", "y w", "embedding") if layer == "Conv" else node("MaxPool", "y", "embedding", kernel_shape=[3, 3])
    )
    model = build(
        [node("Relu", "image", "x"), node("Pad", "x pads", "y"), end],
        {"pads": pads, "w": normal(3, 3, 3, 3)} if layer == "Conv" else {"pads": pads},
        image=(3, 5, 5),
        embedding=(3, 5, 5),
    )
    folded = apply_rules(model, [folds.fold_pad])
    assert kinds(folded) == ["Relu", layer]
    images = normal(2, 3, 5, 5)
    np.testing.assert_allclose(run(folded, images), run(model, images), atol=1e-6)


@pytest.mark.parametrize("case", ["negative values", "padding of one", "channels"])
def test_other_padding_stays(build, case):
    """A MaxPool would pad negative values with minus infinity, where zeros were meant to win."""
    pads = np.asarray([0, 1, 0, 0, 0, 0, 0, 0] if case == "channels" else [0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    constants = {"pads": pads} | ({"one": np.float32(1).reshape(())} if case == "padding of one" else {})
    nodes = [
        node("Tanh" if case == "negative values" else "Relu", "image", "x"),
        node("Pad", "x pads one" if case == "padding of one" else "x pads", "y"),
        node("MaxPool", "y", "embedding", kernel_shape=[3, 3]),
    ]
    shape = (4, 3, 3) if case == "channels" else (3, 5, 5)
    model = build(nodes, constants, image=(3, 5, 5), embedding=shape)
    assert "Pad" in kinds(apply_rules(model, [folds.fold_pad]))


@pytest.mark.parametrize("case", ["ceil_mode", "dilations", "indices"])
def test_padding_before_an_unusual_pool_stays(build, run, case):
    """Rounding up and dilation read beyond the end by other rules, and indices count in the padded map."""
    pads = np.asarray([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    options = {"ceil_mode": {"ceil_mode": 1, "strides": [2, 2]}, "dilations": {"dilations": [2, 2]}, "indices": {}}
    pool = node("MaxPool", "y", "p", kernel_shape=[2, 2], **options[case])
    nodes = [node("Relu", "image", "x"), node("Pad", "x pads", "y"), pool]
    if case == "indices":
        pool.output.append("places")
        nodes += [node("Cast", "places", "q", to=TensorProto.FLOAT), node("Add", "p q", "embedding")]
    else:
        pool.output[:] = ["embedding"]
    size = {"ceil_mode": 4, "dilations": 5, "indices": 6}[case]
    model = build(nodes, {"pads": pads}, image=(3, 5, 5), embedding=(3, size, size))
    kept = apply_rules(model, [folds.fold_pad])
    assert kinds(kept) == kinds(model)
    images = normal(2, 3, 5, 5)
    np.testing.assert_array_equal(run(kept, images), run(model, images))


@pytest.mark.parametrize("is_tiled", [False, True])
def test_a_scale_that_makes_the_channels_stays(build, run, is_tiled):
    """[N, 1, H, W] times [3, 1, 1] has three channels; without the Mul the convolution would be given one."""
    tile = [node("Tile", "image r", "t")] if is_tiled else []
    nodes = [*tile, node("Mul", "t s" if is_tiled else "image s", "x"), node("Conv", "x w", "embedding")]
    constants = {"s": normal(3, 1, 1), "w": normal(4, 3, 3, 3)}
    constants |= {"r": np.asarray([1, 3, 1, 1], np.int64)} if is_tiled else {}
    model = build(nodes, constants, image=(1, 5, 5), embedding=(4, 3, 3))
    kept = apply_rules(model, [moves.drop_tile, folds.fold_scale_into_conv])
    assert kinds(kept) == ["Mul", "Conv"]
    images = normal(2, 1, 5, 5)
    np.testing.assert_array_equal(run(kept, images), run(model, images))


@pytest.mark.parametrize("group", [1, 3])
def test_a_single_factor_goes_into_a_convolution_of_groups(build, run, group):
    nodes = [node("Mul", "image s", "x"), node("Conv", "x w", "embedding", group=group)]
    constants = {"s": normal(1), "w": normal(6, 3 // group, 3, 3)}
    model = build(nodes, constants, image=(3, 5, 5), embedding=(6, 3, 3))
    folded = apply_rules(model, [folds.fold_scale_into_conv])
    assert kinds(folded) == ["Conv"]
    images = normal(2, 3, 5, 5)
    np.testing.assert_allclose(run(folded, images), run(model, images), atol=1e-5)


def test_a_product_that_is_the_bias_stays(build, run):
    nodes = [node("Mul", "b s", "x"), node("Conv", "image w x", "embedding")]
    model = build(
        nodes, {"b": normal(4), "s": normal(1), "w": normal(4, 3, 3, 3)}, image=(3, 5, 5), embedding=(4, 3, 3)
    )
    kept = apply_rules(model, [folds.fold_scale_into_conv])
    assert kinds(kept) == ["Mul", "Conv"]
    images = normal(2, 3, 5, 5)
    np.testing.assert_array_equal(run(kept, images), run(model, images))


def test_a_convolution_along_one_axis_stays(build, run):
    statistics = {"gamma": normal(4), "beta": normal(4), "mean": normal(4), "variance": np.abs(normal(4)) + 0.1}
    nodes = [node("Conv", "image w", "x"), node("BatchNormalization", "x gamma beta mean variance", "embedding")]
    model = build(nodes, {"w": normal(4, 3, 3), **statistics}, image=(3, 6), embedding=(4, 4))
    kept = apply_rules(model, [folds.fold_into_producer])
    assert kinds(kept) == ["Conv", "BatchNormalization"]
    images = normal(2, 3, 6)
    np.testing.assert_array_equal(run(kept, images), run(model, images))


@pytest.mark.parametrize("shape", [(1, 1, 5), (1, 1, 1)])
def test_a_constant_that_adds_an_axis_stays_behind_the_dense_layer(build, run, shape):
    """[N, 5] plus [1, 1, 5] is [1, N, 5], and a softmax over axis 1 is then one over the images."""
    nodes = [
        node("Gemm", "image w", "x"),
        node("Add", "x c", "y"),
        node("Softmax", "y", "p", axis=1),
        node("Reshape", "p s", "embedding"),
    ]
    constants = {"w": normal(4, 5), "c": normal(*shape), "s": np.asarray([-1, 5], np.int64)}
    model = build(nodes, constants, image=(4,), embedding=(5,))
    kept = apply_rules(model, [folds.fold_into_producer])
    assert kinds(kept) == ["Gemm", "Add", "Softmax", "Reshape"]
    images = normal(3, 4)
    np.testing.assert_array_equal(run(kept, images), run(model, images))


def test_scaled_whole_numbers_keep_their_order(build, run):
    """5 / 3 is no whole number."""
    nodes = [
        node("Mul", "image s", "x"),
        node("Add", "x o", "y"),
        node("Cast", "y", "embedding", to=TensorProto.FLOAT),
    ]
    constants = {"s": np.asarray(3, np.int32), "o": np.asarray(5, np.int32)}
    model = build(nodes, constants, image=(4,), embedding=(4,), dtype=TensorProto.INT32)
    kept = apply_rules(model, [folds.sink_scale])
    assert kinds(kept) == ["Mul", "Add", "Cast"]
    images = rng.integers(0, 256, (2, 4), dtype=np.int32)
    np.testing.assert_array_equal(run(kept, images), run(model, images))


def test_whole_factors_are_not_multiplied_into_floats(build, run):
    nodes = [
        node("Mul", "image s", "x"),
        node("Mul", "x o", "y"),
        node("Cast", "y", "embedding", to=TensorProto.FLOAT),
    ]
    constants = {"s": np.asarray(3, np.int32), "o": np.asarray(5, np.int32)}
    model = build(nodes, constants, image=(4,), embedding=(4,), dtype=TensorProto.INT32)
    kept = apply_rules(model, [folds.sink_scale])
    images = rng.integers(0, 256, (2, 4), dtype=np.int32)
    np.testing.assert_array_equal(run(kept, images), run(model, images))


def test_a_node_that_reads_nothing_is_no_reason_to_stop(build, run):
    nodes = [helper.make_node("Constant", [], ["c"], value_float=2.5), node("Mul", "image c", "embedding")]
    model = build(nodes, {}, image=(4,), embedding=(4,))
    kept = apply_rules(model, RULES)
    assert kinds(kept) == ["Constant", "Mul"]
    images = normal(2, 4)
    np.testing.assert_array_equal(run(kept, images), run(model, images))
