"""The 8-bit graph: its form, its arithmetic against integers in numpy, and what a runtime makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.calibration import calibrate, open_session
from export.graph import check
from export.quantize import layer_scales, quantize, values_to_calibrate
from export.ranges import mse_range


def _quantized(model: onnx.ModelProto, images: np.ndarray, *, in_float=(), is_corrected=True, widen=1.0):
    spreads = calibrate(model, values_to_calibrate(model), images)
    ranges = {name: tuple(widen * end for end in mse_range(each.histogram)) for name, each in spreads.items()}
    means = {name: each.channel_means * is_corrected for name, each in spreads.items()}
    return quantize(model, ranges, means, layer_scales(model), in_float=in_float)


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}


def _embed(model: onnx.ModelProto, images: np.ndarray, *, optimize: bool = True) -> np.ndarray:
    return open_session(model, optimize=optimize).run(["embedding"], {"image": images})[0]


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)


def _fused(model: onnx.ModelProto, tmp_path: Path) -> list[str]:
    """The kinds of node that ONNX Runtime really runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]


@pytest.mark.parametrize("name", ["mobile", "residual"])
def test_it_finds_what_fp32_gives(name, pictures, request):
    model = request.getfixturevalue(name)
    quantized = _quantized(model, pictures)
    check(quantized)
    assert _cosines(_embed(quantized, pictures), _embed(model, pictures)).min() > 0.998


def test_activations_are_unsigned_weights_signed_with_a_scale_for_each_output(mobile, pictures):
    quantized = _quantized(mobile, pictures)
    constants = _constants(quantized)
    for node in quantized.graph.node:
        if node.op_type == "QuantizeLinear":
            assert constants[node.input[2]].dtype == np.uint8
            assert constants[node.input[1]].shape == ()
    for name, shape in (("conv_1", (8, 3, 3, 3)), ("conv_2", (8, 1, 3, 3)), ("conv_3", (24, 8, 1, 1))):
        assert constants[f"{name}.weights.levels"].dtype == np.int8
        assert constants[f"{name}.weights.levels"].shape == shape
        assert constants[f"{name}.weights.scale"].shape == shape[:1]
        assert constants[f"{name}.bias.levels"].dtype == np.int32
    assert not {"w1", "w2", "w3"} & set(constants)


def test_a_runtime_fuses_all_layers_and_reads_the_images_own_bytes(mobile, pictures, tmp_path):
    ran = _fused(_quantized(mobile, pictures), tmp_path)
    assert ran.count("QLinearConv") == 3
    assert not {"Conv", "Clip", "Cast", "Sub", "QuantizeLinear"} & set(ran)


def test_sums_pools_and_dense_layers_are_fused_too(residual, pictures, tmp_path):
    ran = _fused(_quantized(residual, pictures), tmp_path)
    assert (ran.count("QLinearConv"), ran.count("QLinearAdd"), ran.count("QGemm")) == (2, 1, 2)
    assert not {"Conv", "Gemm", "Add", "Relu"} & set(ran)


def test_the_accumulators_are_those_of_integers(mobile, pictures):
    """A pointwise layer by hand: 32-bit sums of products of levels, then one rounding to the next layer's levels."""
    quantized = _quantized(mobile, pictures)
    names = ["a2.levels", "a3.levels"]  # the sums are inside: seen are the levels before and behind
    quantized.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in names)
    before, behind = open_session(quantized).run(names, {"image": pictures})
    constants = _constants(quantized)
    weights = constants["conv_3.weights.levels"][:, :, 0, 0].astype(np.int32)  # [24, 8]
    values = before.astype(np.int32) - constants["a2.zero"].astype(np.int32)  # [N, 8, 8, 8]
    sums = np.einsum("oc,nchw->nohw", weights, values) + constants["conv_3.bias.levels"].reshape(1, -1, 1, 1)
    scale = constants["a2.scale"] * constants["conv_3.weights.scale"].reshape(1, -1, 1, 1) / constants["a3.scale"]
    expected = np.clip(np.rint(sums * scale) + constants["a3.zero"], 0, 255)
    difference = np.abs(expected - behind)
    assert difference.max() <= 1  # where a product lies halfway
    assert (difference > 0).mean() < 0.001
    np.testing.assert_allclose(
        constants["conv_3.bias.scale"], constants["a2.scale"] * constants["conv_3.weights.scale"], rtol=1e-6
    )


def test_an_offset_between_two_levels_is_made_up_for(mobile, pictures):
    """127.5 is no byte: x - 127.5 is read as x - 128, half a level is in the bias; only edges of pictures differ."""
    quantized = _quantized(mobile, pictures)
    assert _constants(quantized)["centred.zero"] in (127, 128)
    assert _constants(quantized)["centred.scale"] == 1
    spread = calibrate(mobile, ["a1"], pictures)["a1"].channel_means
    found = calibrate(quantized, ["a1"], pictures)["a1"].channel_means
    np.testing.assert_allclose(found, spread, atol=0.01)


@pytest.mark.parametrize("name", ["mobile", "residual"])
def test_means_of_channels_stay_where_they_were(name, pictures, request):
    model = request.getfixturevalue(name)
    value = {"mobile": "a3", "residual": "y2"}[name]
    plain, corrected = (_quantized(model, pictures, is_corrected=each) for each in (False, True))
    expected, without, mended = (
        calibrate(each, [value], pictures)[value].channel_means for each in (model, plain, corrected)
    )
    assert np.abs(mended - expected).mean() < np.abs(without - expected).mean()


def test_a_layer_left_in_float_is_computed_in_float(mobile, pictures, tmp_path):
    """ONNX Runtime would quantise it itself, with one scale for channels of very different size."""
    quantized = _quantized(mobile, pictures, in_float=["conv_2"])
    check(quantized)
    assert "w2" in _constants(quantized)
    ran = _fused(quantized, tmp_path)
    assert ran.count("QLinearConv") == 2
    assert ran.count("Conv") + ran.count("FusedConv") == 1
    np.testing.assert_allclose(
        _embed(quantized, pictures), _embed(quantized, pictures, optimize=False), atol=0.01
    )  # ties may round otherwise
    assert _cosines(_embed(quantized, pictures), _embed(mobile, pictures)).min() > 0.998


def test_a_product_that_is_no_layer_keeps_its_weights(build, pictures, tmp_path):
    """ONNX Runtime would quantise a transposed convolution between layers in 8 bits as well."""
    make = helper.make_node
    rng = np.random.default_rng(8)
    constants = {
        "w1": rng.normal(0, 0.01, (4, 3, 3, 3)).astype(np.float32),
        "w2": rng.normal(0, 1, (4, 4, 2, 2)).astype(np.float32),
        "w3": rng.normal(0, 1, (2, 4, 1, 1)).astype(np.float32),
        "axes": np.asarray([2, 3]),
    }
    nodes = [
        make("Transpose", ["image"], ["t"], "transpose", perm=[0, 3, 1, 2]),
        make("Cast", ["t"], ["c"], "cast", to=TensorProto.FLOAT),
        make("Conv", ["c", "w1"], ["y1"], "conv_1"),
        make("ConvTranspose", ["y1", "w2"], ["y2"], "up", strides=[2, 2]),
        make("Conv", ["y2", "w3"], ["y3"], "conv_3"),
        make("ReduceMean", ["y3", "axes"], ["embedding"], "mean", keepdims=0),
    ]
    model = build(nodes, constants, image=(16, 16, 3), embedding=(2,), dtype=TensorProto.UINT8)
    ran = _fused(_quantized(model, pictures), tmp_path)
    assert (ran.count("QLinearConv"), ran.count("ConvTranspose")) == (2, 1)
    assert "w2" in _constants(onnx.load(tmp_path / "optimized.onnx"))


@pytest.mark.parametrize("layer", ["conv_1", "conv_2", "conv_3", "add", "gemm_3", "gemm_4"])
def test_any_one_layer_can_stay_in_float(layer, residual, mobile, pictures):
    model = mobile if layer == "conv_3" else residual
    quantized = _quantized(model, pictures, in_float=[layer])
    check(quantized)
    assert _cosines(_embed(quantized, pictures), _embed(model, pictures)).min() > 0.998


def test_all_layers_in_float_change_nothing(mobile, pictures):
    quantized = _quantized(mobile, pictures, in_float=["conv_1", "conv_2", "conv_3"])
    np.testing.assert_allclose(_embed(quantized, pictures), _embed(mobile, pictures), atol=1e-6)


def test_an_activation_is_kept_where_the_levels_go_beyond_it(mobile, pictures):
    """A range wider than ReLU6 would let through what ReLU6 cuts."""
    kept = [node.name for node in _quantized(mobile, pictures, widen=1.5).graph.node]
    dropped = [node.name for node in _quantized(mobile, pictures).graph.node]
    assert "clip_1" in kept
    assert "clip_1" not in dropped


def test_the_same_twice(residual, pictures):
    first, second = (_quantized(residual, pictures).SerializeToString() for _ in range(2))
    assert first == second


def test_dead_and_zero_channels(mobile, pictures):
    """Outputs that never move have neither a range nor a scale to speak of."""
    constants = {each.name: each for each in mobile.graph.initializer}
    weights = numpy_helper.to_array(constants["w2"]).copy()
    weights[0], weights[1] = 0, 1e-20
    constants["w2"].CopyFrom(numpy_helper.from_array(weights, "w2"))
    bias = numpy_helper.to_array(constants["b3"]) - 100  # nothing passes the last activation
    constants["b3"].CopyFrom(numpy_helper.from_array(bias, "b3"))
    assert not _embed(_quantized(mobile, pictures), pictures).any()


def test_an_output_without_weights_still_gives_its_bias(mobile, pictures):
    """A level of its bias is as wide as one of its weights times one of the image's bytes, and those are 1 wide."""
    constants = {each.name: each for each in mobile.graph.initializer}
    weights, bias = (numpy_helper.to_array(constants[name]).copy() for name in ("w1", "b1"))
    weights[:2], weights[1, 0, 0, 0], bias[:2] = 0, 1e-45, 0.4
    for name, array in (("w1", weights), ("b1", bias)):
        constants[name].CopyFrom(numpy_helper.from_array(array, name))
    with np.errstate(all="raise", under="ignore"):
        quantized = _quantized(mobile, pictures)
    step = _constants(quantized)["a1.scale"]
    np.testing.assert_allclose(calibrate(quantized, ["a1"], pictures)["a1"].channel_means[:2], 0.4, atol=step)


def test_shapes_are_no_values(build, pictures):
    """Integers that are put together for a Reshape are no layer, whatever their operator is called."""
    make = helper.make_node
    constants = {
        "w": np.random.default_rng(6).normal(0, 0.01, (4, 3, 3, 3)).astype(np.float32),
        "0": np.asarray([0]), "1": np.asarray([1]), "2": np.asarray([2]), "rest": np.asarray([-1]),
    }  # fmt: skip
    nodes = [
        make("Transpose", ["image"], ["t"], "transpose", perm=[0, 3, 1, 2]),
        make("Cast", ["t"], ["c"], "cast", to=TensorProto.FLOAT),
        make("Conv", ["c", "w"], ["y"], "conv"),
        make("Shape", ["y"], ["sizes"], "shape"),
        make("Slice", ["sizes", "0", "1"], ["batch"], "batch"),
        make("Slice", ["sizes", "1", "2"], ["channels"], "channels"),
        make("Concat", ["batch", "channels"], ["both"], "both", axis=0),
        make("Concat", ["both", "rest"], ["shape"], "all", axis=0),
        make("Reshape", ["y", "shape"], ["r"], "reshape"),
        make("ReduceMean", ["r", "2"], ["embedding"], "mean", keepdims=0),
    ]
    model = build(nodes, constants, image=(16, 16, 3), embedding=(4,), dtype=TensorProto.UINT8)
    assert values_to_calibrate(model) == ["c", "y"]
    quantized = _quantized(model, pictures)
    check(quantized)
    np.testing.assert_allclose(_embed(quantized, pictures), _embed(model, pictures), atol=0.05)


def test_all_outputs_of_a_node_are_kept(build, pictures):
    make = helper.make_node
    rng = np.random.default_rng(7)
    constants = {
        "w1": rng.normal(0, 0.01, (4, 3, 3, 3)).astype(np.float32),
        "w2": rng.normal(0, 1, (2, 2, 1, 1)).astype(np.float32),
        "axes": np.asarray([2, 3]),
    }
    nodes = [
        make("Transpose", ["image"], ["t"], "transpose", perm=[0, 3, 1, 2]),
        make("Cast", ["t"], ["c"], "cast", to=TensorProto.FLOAT),
        make("Conv", ["c", "w1"], ["y"], "conv_1"),
        make("Split", ["y"], ["left", "right"], "split", axis=1, num_outputs=2),
        make("Conv", ["right", "w2"], ["z"], "conv_2"),
        make("Sub", ["left", "z"], ["d"], "sub"),
        make("ReduceMean", ["d", "axes"], ["embedding"], "mean", keepdims=0),
    ]
    model = build(nodes, constants, image=(16, 16, 3), embedding=(2,), dtype=TensorProto.UINT8)
    quantized = _quantized(model, pictures)
    check(quantized)
    np.testing.assert_allclose(_embed(quantized, pictures), _embed(model, pictures), atol=0.05)


def test_branches_with_ranges_of_their_own_are_joined_in_8_bits(build, pictures, tmp_path):
    rng = np.random.default_rng(5)
    make = helper.make_node
    constants = {
        "small": rng.normal(0, 1e-4, (4, 3, 3, 3)).astype(np.float32),
        "large": rng.normal(0, 0.1, (4, 3, 3, 3)).astype(np.float32),
        "w": (rng.normal(size=(6, 8, 1, 1)) * np.repeat([1000, 1], 4).reshape(1, 8, 1, 1)).astype(np.float32),
        "axes": np.asarray([2, 3], np.int64),
    }
    nodes = [
        make("Transpose", ["image"], ["t"], "transpose", perm=[0, 3, 1, 2]),
        make("Cast", ["t"], ["c"], "cast", to=TensorProto.FLOAT),
        make("Conv", ["c", "small"], ["y1"], "conv_1"),
        make("Conv", ["c", "large"], ["y2"], "conv_2"),
        make("Concat", ["y1", "y2"], ["y"], "concat", axis=1),
        make("Relu", ["y"], ["a"], "relu"),
        make("Conv", ["a", "w"], ["z"], "conv_3"),
        make("ReduceMean", ["z", "axes"], ["embedding"], "mean", keepdims=0),
    ]
    model = build(nodes, constants, image=(16, 16, 3), embedding=(6,), dtype=TensorProto.UINT8)
    quantized = _quantized(model, pictures)
    check(quantized)
    constants = _constants(quantized)
    assert constants["y2.scale"] > 100 * constants["y1.scale"]
    ran = _fused(quantized, tmp_path)
    assert (ran.count("QLinearConv"), ran.count("QLinearConcat"), ran.count("Conv")) == (3, 1, 0)
