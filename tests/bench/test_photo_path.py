"""The way of twenty photographs against TensorFlow's: what the full run found holds for them too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bench import photographs
from bench.photo_path import enlarged, shrinking, tf_decoded, tf_resized
from semblance.card import ModelCard
from semblance.errors import SourceError
from semblance.inputs.decode import decode


@pytest.fixture(scope="module")
def result(caltech_dir: Path, weights_dir: Path) -> Any:
    weights = weights_dir / "mobilenet_v1_075_224_notop.weights.h5"
    command = [sys.executable, "-m", "bench.photo_path", "--images", "20", "--large", "2", "--weights", str(weights)]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_the_decoder_is_tensorflows_accurate_one_to_the_bit(result: Any) -> None:
    assert result["num_images"] == 20
    assert result["decode"]["TF's accurate decoder"] == {"share_equal": 1.0, "mean": 0.0, "max": 0.0}
    assert result["decode"]["TF's fast decoder"]["mean"] < 1.5  # which TensorFlow takes where it is not asked
    assert result["decode"]["TF's fast decoder"]["max"] <= 8


def test_the_same_kernel_gives_the_same_levels(result: Any) -> None:
    shrinks, bilinear = (
        result["resize"][name] for name in ("area: TF's area, where both sides shrink", "bilinear: TF's bilinear")
    )
    assert shrinks["share_equal"] > 0.995
    assert bilinear["share_equal"] > 0.7  # OpenCV's is in fixed point
    assert shrinks["max"] <= 1
    assert bilinear["max"] <= 1


def test_the_network_answers_as_keras_does(result: Any) -> None:
    assert result["network"]["the same pixels"]["worst"] > 0.9999999


def test_the_whole_way_ends_at_the_same_vector(result: Any) -> None:
    whole = result["whole way"]
    rounded = whole["area: TF's area, accurate decoder, rounded, where both sides shrink"]
    assert rounded["worst"] > 0.9999
    for name in (
        "area: TF's area, accurate decoder, where both sides shrink",
        "bilinear: TF's bilinear, accurate decoder",
    ):
        assert whole[name]["mean"] > 0.9998
        assert whole[name]["worst"] > 0.999
    assert whole["area: TF's area, fast decoder"]["mean"] > 0.998


def test_scaled_decoding_moves_vectors_by_little(result: Any) -> None:
    parts = result["scaled decode"]
    assert {name[:3] for name in parts} >= {"1/2", "1/4", "1/8"}
    for part in parts.values():
        assert part["mean"] > 0.998
        assert part["worst"] > 0.99
        assert part["decode_speed_ratio"] > 0  # how much depends on the machine


def test_photographs_are_spread_over_the_classes(caltech_dir: Path) -> None:
    first, second = photographs(3), photographs(6)
    assert first == second[::2]
    assert all(decode(jpeg, channels=3).ndim == 3 for jpeg in second)


def test_an_enlarged_photograph_is_as_large_as_asked(caltech_dir: Path) -> None:
    (jpeg,) = photographs(1)
    height, width = decode(jpeg, channels=3).shape[:2]
    large = decode(enlarged(jpeg, 700), channels=3)
    assert min(large.shape[:2]) == 700
    assert abs(large.shape[1] / large.shape[0] - width / height) < 0.01


def test_tensorflows_side_is_what_it_says() -> None:
    """Its decoders are two, and where a side grows it does not count as shrinking."""
    from export.quiet import import_tensorflow_quietly

    import_tensorflow_quietly()
    rng = np.random.default_rng(0)
    small, large = (rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((10, 30), (20, 30)))
    card = ModelCard(
        name="any", height=20, width=20, channels=3, dimension=1, metric="cos", unit_length=True, architecture="any",
        layer="any", pooling="average", preprocess="tf", weights_sha256="0" * 64,
    )  # fmt: skip
    assert shrinking([small, large], card) == [1]
    assert tf_resized([small], card, "bilinear")[0].shape == (20, 20, 3)
    jpeg = cv2.imencode(".jpg", large)[1].tobytes()
    both = tf_decoded([jpeg])
    np.testing.assert_array_equal(both["accurate"][0], decode(jpeg, channels=3))
    assert not np.array_equal(both["accurate"][0], both["fast"][0])


def test_without_photographs_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.images.find_photographs", lambda: None)
    with pytest.raises(SourceError, match="Caltech101 photographs are not on this machine"):
        photographs(1)
