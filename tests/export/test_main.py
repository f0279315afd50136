"""The command in a process of its own: what it writes, what it says, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from semblance.card import read_card

ROOT = Path(__file__).parents[2]


def _export(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"SEMBLANCE_HOME": str(home), "COLUMNS": "120"}
    command = [sys.executable, "-m", "export", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_an_export_into_the_cache_folder(tmp_path, fashion_mnist_dir):
    done = _export("autoencoder", "--weights", "random", "--seed", "4", "--parity-images", "64", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    path = tmp_path / "models" / "autoencoder.onnx"
    assert read_card(path).source == "random, seed 4"
    for part in (str(path), "max_unit_error", "overlap_at_10", "64 of the Fashion-MNIST test images"):
        assert part in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resnt101"], "models/ has"),
        ([], "exactly one of"),
        (["siamese", "--all-small"], "exactly one of"),
        (["--keras", "x.keras"], "--layer NAME"),
        (["--all-small", "--weights", "random"], "--weights does not go with --all-small"),
        (["siamese", "--layer", "dense_1"], "--layer goes with --keras"),
        (["siamese", "--no-unit-length"], "--unit-length goes with --keras"),
        (["siamese", "--metric", "l2sq"], "--metric goes with --keras"),
        (["--keras", "x.keras", "--layer", "y", "--preprocess", "tf", "--seed", "1"], "--seed goes with an original"),
        (["mobilenet", "--alpha", "0"], "alpha"),
    ],
)
def test_a_mistake_is_one_line_and_status_1(arguments, said, tmp_path):
    done = _export(*arguments, home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
