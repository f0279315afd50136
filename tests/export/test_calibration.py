"""What a pass with further outputs counts, against the arrays themselves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from export import calibration
from export.calibration import calibrate, open_session, with_outputs
from semblance.errors import ModelError


def _arrays(model: onnx.ModelProto, values: list[str], images: np.ndarray) -> list[np.ndarray]:
    return open_session(with_outputs(model, values), optimize=False).run(values, {"image": images})


@pytest.mark.parametrize("floats", [1 << 26, 10_000, 1])
def test_spreads_are_those_of_the_whole_arrays_in_any_batches(mobile, pictures, floats, monkeypatch):
    monkeypatch.setattr(calibration, "_FLOATS_AT_ONCE", floats)
    values = ["centred", "a1", "a3", "embedding"]
    spreads = calibrate(mobile, values, pictures)
    for name, array in zip(values, _arrays(mobile, values, pictures), strict=True):
        histogram = spreads[name].histogram
        assert histogram.lowest == pytest.approx(array.min(), abs=1e-5)
        assert histogram.highest == pytest.approx(array.max(), rel=1e-5)
        assert histogram.num_values == array.size
        axes = tuple(axis for axis in range(array.ndim) if axis != 1)
        np.testing.assert_allclose(
            spreads[name].channel_means, array.mean(axis=axes, dtype=float), rtol=1e-5, atol=1e-5
        )


def test_a_value_that_is_not_finite_is_named(mobile, pictures):
    (weights,) = (each for each in mobile.graph.initializer if each.name == "b2")
    weights.CopyFrom(onnx.numpy_helper.from_array(np.full(8, np.nan, np.float32), "b2"))
    with pytest.raises(ModelError, match=r"y2.*finite"):
        calibrate(mobile, ["a1", "y2"], pictures)


def test_threads_do_not_spin_on_after_a_run(mobile):
    options = open_session(mobile).get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_no_images_count_nothing(mobile, pictures):
    assert calibrate(mobile, ["a1"], pictures[:0])["a1"].histogram.num_values == 0
