"""The table of precisions: one short real run, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.precision import measure, show
from bench.vs_tensorflow import Asked
from semblance.errors import InputError
from semblance.inference.models import zoo_folder

ASKED = Asked(budget_s=0)


@pytest.mark.usefixtures("fashion_mnist_dir")
def test_fp32_on_both_backends_finds_the_same() -> None:
    command = [sys.executable, "-m", "bench.precision", "autoencoder", "--batches", "1", "8", "--seconds", "0",
               "--gate-images", "500"]  # fmt: skip
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout.splitlines()[-1])["results"]
    assert (first["name"], second["name"]) == ("ort_cpu fp32", "openvino_cpu fp32")
    assert first["lost_p_at_10"] == 0
    assert first["overlap_at_10"] == 1
    assert second["overlap_at_10"] > 0.999
    assert second["passed"]
    assert 0.09 < first["chance"] < 0.11  # ten classes
    assert (first["warning"], "warning" in done.stdout.partition("{")[0]) == ("", False)
    assert first["images_per_sec"].keys() == {"1", "8"}


def test_a_model_that_finds_hardly_more_than_chance_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    figures = ("chance", "p_at_1", "p_at_10", "lost_p_at_10", "overlap_at_10", "mean_cosine", "min_cosine")
    row = {"name": "ort_cpu fp32", "bytes": 1, "images": "pictures", "images_per_sec": {"1": 1.0}, "passed": True}
    show([row | dict.fromkeys(figures, 0.1) | {"warning": "it is hardly above chance"}], [1])
    assert "warning: it is hardly above chance" in capsys.readouterr().out


def test_too_few_images_are_refused() -> None:
    command = [sys.executable, "-m", "bench.precision", "autoencoder", "--gate-images", "5"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--gate-images must be at least 22" in done.stderr


def test_files_of_two_models_are_refused() -> None:
    files = [zoo_folder() / f"{name}.onnx" for name in ("siamese", "autoencoder")]
    with pytest.raises(InputError, match=r"autoencoder\.onnx is of another embedding space"):
        measure(files, ASKED, source=None, num_gate=None)
