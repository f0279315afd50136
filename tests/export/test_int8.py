"""How the ranges' method and the layers in float are chosen."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest

from export.gate import Gate
from export.int8 import embed, fewest, to_int8
from export.quantize import layer_scales
from export.ranges import METHODS


@pytest.mark.parametrize("most", [0, 1, 2, 5, 13, 100])
def test_fewest_is_what_trying_each_finds_in_few_trials(most):
    for needed in [*range(most + 1), most + 1]:
        tried: list[int] = []

        def passes(count: int, needed: int = needed, tried: list[int] = tried) -> bool:
            tried.append(count)
            return count >= needed

        assert fewest(passes, most) == min(needed, most)
        assert len(set(tried)) <= 2 * math.log2(max(2, needed)) + 4
        assert max(tried) <= most


def _gate(lost: float) -> Gate:
    return Gate(
        images="", num_images=1, backend="", chance=0, p_at_1_fp32=1, p_at_1=1, p_at_10_fp32=1, p_at_10=1 - lost,
        lost_error=0, overlap_at_10=1, mean_cosine=1, min_cosine=1,
    )  # fmt: skip


def _in_float(model: onnx.ModelProto) -> set[str]:
    return {each.name for each in model.graph.initializer} & {"w1", "w2", "w3", "w4"}


def test_nothing_stays_in_float_where_all_passes(residual, pictures):
    made = to_int8(residual, pictures, lambda model: _gate(0))
    assert made.in_float == ()
    assert made.method in METHODS
    assert (made.num_calibration_images, made.num_layers) == (40, 4)
    assert _in_float(made.model) == set()


def test_layers_go_to_float_until_it_passes(residual, pictures):
    judged: list[int] = []

    def judge(model: onnx.ModelProto) -> Gate:
        judged.append(len(_in_float(model)))
        return _gate(0 if judged[-1] >= 2 else 1)

    made = to_int8(residual, pictures, judge)
    assert len(made.in_float) == len(_in_float(made.model)) == 2
    assert made.gate.passed
    assert list(made.in_float) == [name for name in layer_scales(residual) if name in made.in_float]
    assert judged == [0, 1, 2]


def test_at_most_half_of_the_layers_go_to_float(residual, pictures):
    made = to_int8(residual, pictures, lambda model: _gate(1))
    assert len(made.in_float) == 2
    assert not made.gate.passed


def test_the_same_twice(mobile, pictures):
    first, second = (to_int8(mobile, pictures, lambda model: _gate(0)).model.SerializeToString() for _ in range(2))
    assert first == second


def test_embed_is_in_batches_and_in_order(mobile, pictures):
    many = np.concatenate([pictures, pictures[::-1]])
    embedded = embed(mobile, many)
    np.testing.assert_allclose(embedded[:40], embedded[40:][::-1], atol=1e-6)
