"""Which layer suffers most from 8 bits, where one was made to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import numpy_helper

from export.calibration import calibrate, open_session, with_outputs
from export.quantize import layer_scales, quantize, values_to_calibrate
from export.ranges import minmax_range
from export.sensitivity import layer_snr_db


def _snr(model, pictures):
    spreads = calibrate(model, values_to_calibrate(model), pictures)
    ranges = {name: minmax_range(each.histogram) for name, each in spreads.items()}
    means = {name: each.channel_means for name, each in spreads.items()}
    return layer_snr_db(model, ranges, means, layer_scales(model), pictures), ranges, means


@pytest.mark.parametrize("name", ["mobile", "residual"])
def test_every_weighted_layer_has_a_figure_ascending(name, pictures, request):
    model = request.getfixturevalue(name)
    snr, _, _ = _snr(model, pictures)
    assert set(snr) == set(layer_scales(model))
    assert list(snr.values()) == sorted(snr.values())
    assert all(15 < each < 70 for each in snr.values())


def test_a_layer_with_one_huge_weight_comes_first(residual, pictures):
    (weights,) = (each for each in residual.graph.initializer if each.name == "w3")
    array = numpy_helper.to_array(weights).copy()
    array[-1] = 200 * array.max()  # a single input's weights make the levels of all others coarse
    weights.CopyFrom(numpy_helper.from_array(array, "w3"))
    assert next(iter(_snr(residual, pictures)[0])) == "gemm_3"


def test_the_figure_of_the_last_layer_by_hand(mobile, pictures):
    """All before it in float: what its own graph gives is the model's value with that layer alone in 8 bits."""
    snr, ranges, means = _snr(mobile, pictures)
    alone = quantize(mobile, ranges, means, layer_scales(mobile), in_float=["conv_1", "conv_2"])
    expected, given = (
        open_session(with_outputs(each, ["a3"])).run(["a3"], {"image": pictures})[0] for each in (mobile, alone)
    )
    noise = np.square(expected - given, dtype=float).sum()
    assert snr["conv_3"] == pytest.approx(10 * math.log10(np.square(expected, dtype=float).sum() / noise), abs=0.2)
