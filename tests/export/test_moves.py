"""Each rule on moved data, on a tiny graph: the same numbers in the same order, with fewer moves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export import moves
from export.simplify import RULES, apply_rules

rng = np.random.default_rng(11)


def normal(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def whole(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


TO_FIRST, TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


@pytest.mark.parametrize("constant", [normal(3), normal(1, 1, 1, 3), normal(4, 5, 3), np.float32(2.5)])
@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul"])
def test_a_transpose_comes_before_arithmetic_and_casts(build, run, kind, constant):
    nodes = [
        node("Cast", "image", "x", to=TensorProto.FLOAT),
        node(kind, "x c", "y"),
        node("Transpose", "y", "embedding", perm=TO_FIRST),
    ]
    constants = {"c": np.asarray(constant)}
    model = build(nodes, constants, image=(4, 5, 3), embedding=(3, 4, 5), dtype=TensorProto.UINT8)
    moved = apply_rules(model, [moves.hoist_transpose])
    assert kinds(moved) == ["Transpose", "Cast", kind]
    images = rng.integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(run(moved, images), run(model, images))


def test_two_transposes_become_one_and_none_where_they_undo_each_other(build, run):
    nodes = [
        node("Transpose", "image", "x", perm=[3, 1, 2, 0]),
        node("Transpose", "x", "y", perm=[3, 0, 1, 2]),
        node("Transpose", "y", "z", perm=TO_LAST),
        node("Relu", "z", "embedding"),
    ]
    model = build(nodes, {}, image=(4, 5, 3), embedding=(4, 5, 3))
    merged = apply_rules(model, [moves.merge_transposes])
    assert kinds(merged) == ["Relu"]
    images = normal(2, 4, 5, 3)
    np.testing.assert_array_equal(run(merged, images), run(model, images))


def test_one_channel_needs_no_transpose(build, run):
    nodes = [node("Transpose", "image", "x", perm=TO_FIRST), node("Relu", "x", "embedding")]
    model = build(nodes, {}, image=(4, 5, 1), embedding=(1, 4, 5))
    reshaped = apply_rules(model, [moves.reshape_instead])
    assert kinds(reshaped) == ["Reshape", "Relu"]
    images = normal(2, 4, 5, 1)
    np.testing.assert_array_equal(run(reshaped, images), run(model, images))


def test_a_transpose_of_several_channels_is_no_reshape(build):
    nodes = [node("Transpose", "image", "x", perm=TO_FIRST), node("Relu", "x", "embedding")]
    model = build(nodes, {}, image=(4, 5, 2), embedding=(2, 4, 5))
    assert kinds(apply_rules(model, [moves.reshape_instead])) == ["Transpose", "Relu"]


def test_reshapes_in_a_row_become_one(build, run):
    nodes = [node("Reshape", "image a", "x"), node("Reshape", "x b", "y"), node("Relu", "y", "embedding")]
    constants = {"a": whole(-1, 12), "b": whole(-1, 3, 4)}
    model = build(nodes, constants, image=(2, 6), embedding=(3, 4))
    merged = apply_rules(model, [moves.merge_reshapes])
    assert kinds(merged) == ["Reshape", "Relu"]
    images = normal(2, 2, 6)
    np.testing.assert_array_equal(run(merged, images), run(model, images))


def test_a_reshape_comes_before_a_single_number(build, run):
    nodes = [node("Mul", "image c", "x"), node("Reshape", "x s", "embedding")]
    model = build(nodes, {"c": normal(1, 1, 1, 1), "s": whole(-1, 1, 4, 5)}, image=(4, 5, 1), embedding=(1, 4, 5))
    moved = apply_rules(model, [moves.hoist_reshape])
    assert kinds(moved) == ["Reshape", "Mul"]
    images = normal(2, 4, 5, 1)
    np.testing.assert_array_equal(run(moved, images), run(model, images))


def test_grey_is_not_tiled_where_arithmetic_repeats_it(build, run):
    nodes = [node("Tile", "image r", "x"), node("Sub", "x c", "embedding")]
    constants = {"r": whole(1, 3, 1, 1), "c": normal(3, 1, 1)}
    model = build(nodes, constants, image=(1, 4, 4), embedding=(3, 4, 4))
    dropped = apply_rules(model, [moves.drop_tile])
    assert kinds(dropped) == ["Sub"]
    images = normal(2, 1, 4, 4)
    np.testing.assert_array_equal(run(dropped, images), run(model, images))


def test_a_tile_that_arithmetic_does_not_repeat_stays(build):
    constants = {"r": whole(1, 3, 1, 1), "c": normal(1)}
    nodes = [node("Tile", "image r", "x"), node("Sub", "x c", "embedding")]
    model = build(nodes, constants, image=(1, 4, 4), embedding=(3, 4, 4))
    assert kinds(apply_rules(model, [moves.drop_tile])) == ["Tile", "Sub"]


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_the_mean_over_a_map_is_a_global_pool_without_a_transpose(build, run, opset, keepdims):
    axes = {"axes": [1, 2]} if opset == 17 else {}
    nodes = [
        node("Transpose", "image", "x", perm=TO_LAST),
        node("ReduceMean", "x" if axes else "x axes", "embedding", keepdims=keepdims, **axes),
    ]
    constants = {} if axes else {"axes": whole(1, -2)}
    shape = (1, 1, 6) if keepdims else (6,)
    model = build(nodes, constants, image=(6, 4, 5), embedding=shape, opset=opset)
    pooled = apply_rules(model, [moves.pool_globally])
    assert kinds(pooled) == ["GlobalAveragePool", "Reshape"]
    images = normal(2, 6, 4, 5)
    np.testing.assert_allclose(run(pooled, images), run(model, images), atol=1e-6)


@pytest.mark.parametrize("dense", ["MatMul", "Gemm"])
def test_a_dense_layer_reads_channels_first(build, run, dense):
    nodes = [
        node("Transpose", "image", "x", perm=TO_LAST),
        node("Reshape", "x s", "y"),
        node(dense, "y w b" if dense == "Gemm" else "y w", "embedding"),
    ]
    constants = {"s": whole(-1, 40), "w": normal(40, 7), "b": normal(7)}
    if dense == "MatMul":
        del constants["b"]
    model = build(nodes, constants, image=(5, 2, 4), embedding=(7,))
    permuted = apply_rules(model, [moves.permute_dense])
    assert kinds(permuted) == ["Reshape", dense]
    images = normal(3, 5, 2, 4)
    np.testing.assert_allclose(run(permuted, images), run(model, images), atol=1e-5)


def test_a_flatten_that_is_the_embedding_keeps_the_original_order(build, run):
    nodes = [node("Transpose", "image", "x", perm=TO_LAST), node("Reshape", "x s", "embedding")]
    model = build(nodes, {"s": whole(-1, 40)}, image=(5, 2, 4), embedding=(40,))
    kept = apply_rules(model, RULES)
    assert kinds(kept) == ["Transpose", "Reshape"]
    images = normal(3, 5, 2, 4)
    np.testing.assert_array_equal(run(kept, images), images.transpose(0, 2, 3, 1).reshape(3, 40))


def _flip(kind: str) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """The last of [N, 4, 5, 3]'s axes reversed, from `image` to `flipped`, as converters write it."""
    if kind == "stacked slices":
        cuts = {f"i{each}": whole(each) for each in range(4)}
        slices = [node("Slice", f"image i{c} i{c + 1} i3", f"c{c}") for c in range(3)]
        return [*slices, node("Concat", "c2 c1 c0", "flipped", axis=3)], cuts
    if kind == "slice backwards":
        last = {"start": whole(-1), "end": whole(np.iinfo(np.int64).min), "axis": whole(3), "step": whole(-1)}
        return [node("Slice", "image start end axis step", "flipped")], last
    nodes = [
        node("Transpose", "image", "t", perm=[3, 1, 2, 0]),
        node("Shape", "t", "ts"),
        node("Gather", "ts one", "height"),
        node("Shape", "image", "is"),
        node("Gather", "is three", "channels"),
        node("Expand", "channels height", "lengths"),
        node("ReverseSequence", "t lengths", "r", batch_axis=1, time_axis=0),
        node("Transpose", "r", "flipped", perm=[3, 1, 2, 0]),
    ]
    return nodes, {"one": whole(1), "three": whole(3)}


@pytest.mark.parametrize("kind", ["stacked slices", "slice backwards", "reversed sequence"])
def test_channels_are_flipped_by_the_first_convolution(build, run, kind):
    nodes, constants = _flip(kind)
    nodes += [
        node("Sub", "flipped mean", "x"),
        node("Transpose", "x", "y", perm=TO_FIRST),
        node("Conv", "y w", "embedding", pads=[1, 1, 1, 1]),
    ]
    constants |= {"mean": normal(3), "w": normal(6, 3, 3, 3)}
    model = build(nodes, constants, image=(4, 5, 3), embedding=(6, 4, 5))
    folded = apply_rules(model, RULES)
    assert kinds(folded) == ["Transpose", "Sub", "Conv"]
    images = normal(2, 4, 5, 3)
    np.testing.assert_allclose(run(folded, images), run(model, images), atol=1e-5)


def test_channels_that_are_left_out_are_not_reordered(build, run):
    """A Concat of two of three channels is a choice: folded as a reordering it would read the wrong number of them."""
    nodes = [
        node("Slice", "image i0 i1 i3", "a"),
        node("Slice", "image i1 i2 i3", "b"),
        node("Concat", "b a", "x", axis=3),
        node("Transpose", "x", "y", perm=TO_FIRST),
        node("Conv", "y w", "embedding"),
    ]
    constants = {f"i{each}": whole(each) for each in range(4)} | {"w": normal(6, 2, 1, 1)}
    model = build(nodes, constants, image=(4, 5, 3), embedding=(6, 4, 5))
    folded = apply_rules(model, RULES)
    images = normal(2, 4, 5, 3)
    np.testing.assert_allclose(run(folded, images), run(model, images), atol=1e-5)


def test_a_dense_layer_on_a_flatten_with_another_axis_stays(build, run):
    """Behind [N, 1, 40] the later axis numbers count that 1; a flatten to [N, 40] would turn the Softmax's axis."""
    nodes = [
        node("Transpose", "image", "t", perm=TO_LAST),
        node("Reshape", "t s", "y"),
        node("MatMul", "y w", "m"),
        node("Softmax", "m", "p", axis=1),
        node("Reshape", "p e", "embedding"),
    ]
    constants = {"s": whole(-1, 1, 40), "w": normal(40, 7), "e": whole(-1, 7)}
    model = build(nodes, constants, image=(5, 2, 4), embedding=(7,))
    kept = apply_rules(model, [moves.permute_dense])
    assert kinds(kept) == kinds(model)
    images = normal(3, 5, 2, 4)
    np.testing.assert_array_equal(run(kept, images), run(model, images))


def test_a_dense_layer_that_turns_its_input_stays(build, run):
    """With transA the weights' rows meet the images of the batch, not the features."""
    nodes = [
        node("Transpose", "image", "x", perm=TO_LAST),
        node("Reshape", "x s", "y"),
        node("Gemm", "y w", "embedding", transA=1),
    ]
    model = build(nodes, {"s": whole(-1, 40), "w": normal(40, 7)}, image=(5, 2, 4), embedding=(7,))
    kept = apply_rules(model, [moves.permute_dense])
    images = normal(40, 5, 2, 4)
    np.testing.assert_array_equal(run(kept, images), run(model, images))


def test_channels_counted_from_the_end_are_flipped_too(build, run):
    """Gather's axis may be negative: it is the same axis, and a Transpose's perm names it from the front."""
    nodes = [
        node("Gather", "image order", "flipped", axis=-1),
        node("Sub", "flipped mean", "x"),
        node("Transpose", "x", "y", perm=TO_FIRST),
        node("Conv", "y w", "embedding"),
    ]
    constants = {"order": whole(2, 1, 0), "mean": normal(3), "w": normal(6, 3, 1, 1)}
    model = build(nodes, constants, image=(4, 5, 3), embedding=(6, 4, 5))
    folded = apply_rules(model, [moves.sink_gather])
    assert kinds(folded) == ["Sub", "Transpose", "Conv"]
    images = normal(2, 4, 5, 3)
    np.testing.assert_allclose(run(folded, images), run(model, images), atol=1e-5)


@pytest.mark.parametrize("constant", [normal(1, 3), normal(1, 1, 3)])
def test_a_gather_stays_before_a_constant_that_makes_more_of_its_axes(build, run, constant):
    """One entry that is repeated, or one axis more in front, is not a constant in the Gather's own order."""
    nodes = [node("Gather", "image first", "x", axis=1), node("Add", "x c", "y"), node("Reshape", "y s", "embedding")]
    model = build(nodes, {"first": whole(0), "c": constant, "s": whole(-1, 3)}, image=(1,), embedding=(3,))
    kept = apply_rules(model, [moves.sink_gather])
    assert kinds(kept) == ["Gather", "Add", "Reshape"]
    images = normal(2, 1)
    np.testing.assert_array_equal(run(kept, images), run(model, images))


@pytest.mark.parametrize("constant", [normal(1, 1, 4, 3), normal(1, 1, 1, 1)])
def test_a_transpose_stays_behind_a_constant_that_adds_an_axis(build, run, constant):
    nodes = [
        node("Add", "image c", "x"),  # [N, 4, 3] becomes [1, N, 4, 3]
        node("Transpose", "x", "y", perm=[1, 0, 3, 2]),
        node("Relu", "y", "embedding"),
    ]
    model = build(nodes, {"c": constant}, image=(4, 3), embedding=(1, 3, 4))
    kept = apply_rules(model, RULES)
    assert kinds(kept) == ["Add", "Transpose", "Relu"]
    images = normal(2, 4, 3)
    np.testing.assert_array_equal(run(kept, images), run(model, images))


def test_a_tile_stays_before_a_constant_that_adds_an_axis(build, run):
    nodes = [node("Tile", "image r", "x"), node("Add", "x c", "y"), node("Reshape", "y s", "embedding")]
    constants = {"r": whole(1, 3), "c": normal(1, 3, 3), "s": whole(-1, 3)}
    model = build(nodes, constants, image=(1,), embedding=(3,))
    kept = apply_rules(model, [moves.drop_tile])
    assert kinds(kept) == ["Tile", "Add", "Reshape"]
    images = normal(3, 1)
    np.testing.assert_array_equal(run(kept, images), run(model, images))


def test_a_transpose_without_perm_reverses_the_axes(build, run):
    nodes = [
        node("Gather", "image order", "g", axis=2),
        node("Mul", "g c", "x"),
        node("Transpose", "x", "y"),
        node("Transpose", "y", "z"),
        node("Transpose", "z", "back"),
        node("ReduceMean", "back axes", "mean", keepdims=1),
        node("Reshape", "mean s", "embedding"),
    ]
    constants = {"order": whole(1, 0), "c": normal(4, 1, 3), "axes": whole(1, 2), "s": whole(-1, 3)}
    model = build(nodes, constants, image=(4, 2, 3), embedding=(3,))
    moved = apply_rules(model, RULES)
    assert kinds(moved).count("Transpose") == 1
    images = normal(2, 4, 2, 3)
    np.testing.assert_allclose(run(moved, images), run(model, images), atol=1e-6)


def test_a_gather_sinks_behind_a_transpose_without_perm(build, run):
    nodes = [
        node("Gather", "image order", "g", axis=1),
        node("Transpose", "g", "x"),
        node("Transpose", "x", "y", perm=[2, 1, 0]),
        node("Relu", "y", "embedding"),
    ]
    model = build(nodes, {"order": whole(1, 2, 0, 3)}, image=(4, 3), embedding=(4, 3))
    moved = apply_rules(model, [moves.sink_gather])
    assert kinds(moved) == ["Transpose", "Transpose", "Gather", "Relu"]
    images = normal(2, 4, 3)
    np.testing.assert_array_equal(run(moved, images), run(model, images))


def test_a_node_that_reads_nothing_is_no_reason_to_stop(build, run):
    nodes = [helper.make_node("Constant", [], ["c"], value_float=2.5), node("Mul", "image c", "embedding")]
    model = build(nodes, {}, image=(4,), embedding=(4,))
    kept = apply_rules(model, [rule for rule in RULES if rule.__module__ == moves.__name__])
    assert kinds(kept) == ["Constant", "Mul"]
    images = normal(2, 4)
    np.testing.assert_array_equal(run(kept, images), run(model, images))
