"""`match`: what it tells of two pictures, the picture it draws, and the mistakes one can make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from semblance.draw import save_png
from semblance.inputs.datasets import fashion_mnist

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shirts(fashion_mnist_dir: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Train images 10 and 1."""
    images, _ = fashion_mnist("train")
    paths = (tmp_path / "10.png", tmp_path / "1.png")
    for path in paths:
        save_png(path, images[int(path.stem)])
    return paths


def test_the_published_pair(run: Run, answer: Any, shirts: tuple[Path, Path]) -> None:
    found = answer("match", *shirts)
    assert round(found.pop("score"), 2) == 66.67
    assert found == {
        "a": str(shirts[0]), "b": str(shirts[1]), "num_keypoints_a": 3, "num_keypoints_b": 8, "num_matches": 2,
        "model": "homography", "num_inliers": 0, "inlier_ratio": 0.0, "matrix": None,
    }  # fmt: skip
    code, out, err = run("match", *shirts)
    assert (code, err) == (0, "")
    for told in ("3 and 8", "66.67", "0: the matches agree on no homography"):
        assert told in out


def test_a_box_in_a_scene_and_its_picture(run: Run, answer: Any, sift_pairs_dir: Path, tmp_path: Path) -> None:
    pictures, out = (sift_pairs_dir / "box.png", sift_pairs_dir / "box_in_scene.png"), tmp_path / "new" / "found.png"
    found = answer("match", *pictures, "--out", out)
    assert (found["num_keypoints_a"], found["num_keypoints_b"], found["num_matches"]) == (512, 512, 40)
    assert found["num_inliers"] >= 30
    assert found["inlier_ratio"] == found["num_inliers"] / 40
    assert np.array(found["matrix"]).shape == (3, 3)
    drawn = cv2.imread(str(out))
    assert drawn is not None
    assert drawn.shape == (26 + 384 + 44 + 26, 26 + 324 + 16 + 512 + 26, 3)
    code, told, err = run("match", *pictures, "--out", out)
    assert (code, err) == (0, "")
    assert f"{found['num_inliers']} of a homography" in told
    assert str(out) in told


def test_options_reach_the_parts(answer: Any, sift_pairs_dir: Path) -> None:
    pictures = (sift_pairs_dir / "box.png", sift_pairs_dir / "box_in_scene.png")
    usual = answer("match", *pictures)
    everything = answer("match", *pictures, "--max-keypoints", 0, "--longest-side", 0)
    assert (everything["num_keypoints_a"], everything["num_keypoints_b"]) == (604, 969)
    assert answer("match", *pictures, "--max-keypoints", 100)["num_keypoints_b"] == 100
    assert answer("match", *pictures, "--contrast", 0.1)["num_keypoints_b"] < 512
    assert answer("match", *pictures, "--longest-side", 200)["num_keypoints_b"] < 512
    loose = answer("match", *pictures, "--ratio", 0.95)
    assert loose["num_matches"] > usual["num_matches"]
    assert answer("match", *pictures, "--ratio", 0.95, "--mutual")["num_matches"] < loose["num_matches"]
    assert answer("match", *pictures, "--root")["num_matches"] != usual["num_matches"]
    assert answer("match", *pictures, "--threshold", 0.5)["num_inliers"] < usual["num_inliers"]
    assert answer("match", *pictures, "--backend", "cpu", "--threads", 1) == usual
    similarity = answer("match", *pictures, "--model", "similarity")
    assert similarity["model"] == "similarity"
    assert similarity["matrix"][2] == [0, 0, 1]


@pytest.mark.parametrize("model", ["homography", "fundamental", "similarity"])
def test_pictures_without_keypoints_are_matched_and_drawn(
    run: Run, answer: Any, tmp_path: Path, sift_pairs_dir: Path, model: str
) -> None:
    flat = tmp_path / "flat.png"
    save_png(flat, np.zeros((28, 28), np.uint8))
    found = answer("match", flat, sift_pairs_dir / "box.png", "--model", model, "--out", tmp_path / "out.png")
    assert (found["num_keypoints_a"], found["num_matches"], found["score"], found["matrix"]) == (0, 0, 0.0, None)
    assert (tmp_path / "out.png").exists()
    kind = "fundamental matrix" if model == "fundamental" else model
    assert f"agree on no {kind}" in run("match", flat, flat, "--model", model)[1]


def test_mistakes(run: Run, failure: Any, shirts: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    assert "no such file" in failure("match", shirts[0], tmp_path / "none.png")
    assert "not an image" in failure("match", tmp_path / "broken.jpg", shirts[0])
    assert "ratio must be" in failure("match", *shirts, "--ratio", 1.5)
    assert "homography, fundamental, similarity" in failure("match", *shirts, "--model", "affine")
    assert "threshold must be" in failure("match", *shirts, "--threshold", 0)
    assert "contrast_threshold must be" in failure("match", *shirts, "--contrast", "nan")
    assert "abacus" in failure("match", *shirts, "--backend", "abacus")
    assert "cannot be written" in failure("match", *shirts, "--out", tmp_path)
    for wrong in ((shirts[0],), (*shirts, "--threads", 0), (*shirts, "--max-keypoints", -1)):
        assert run("match", *wrong)[0] == 2
