"""The published autoencoder through the exported file: its figures exactly, and those over all test images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.retrieval import leave_one_out, published_protocol
from semblance import Encoder
from semblance.inputs.datasets import fashion_mnist

# Measured off the published file with TensorFlow, all 10,000 queries: P@1, P@5, P@10, P@20, hit@5
LEAVE_ONE_OUT = {
    ("autoencoder", "l2sq"): (0.8020, 0.7748, 0.7591, 0.7390, 0.9472),
    ("autoencoder", "cos"): (0.8075, 0.7817, 0.7653, 0.7444, 0.9482),
    ("autoencoder-published", "l2sq"): (0.8096, 0.7840, 0.7664, 0.7480, 0.9495),
    ("autoencoder-published", "cos"): (0.8183, 0.7910, 0.7749, 0.7570, 0.9511),
}
PUBLISHED = {"P@5": 0.8000, "R@5": 0.0040, "P@10": 0.7333, "R@10": 0.0073, "accuracy": 1.0000}


@pytest.fixture(scope="module")
def test_split(fashion_mnist_dir: Path) -> Any:
    return fashion_mnist("test")


@pytest.fixture(scope="module")
def vectors(originals_dir: Path, test_split: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Both cuts of the published file, exported and run on the 10,000 test images: [10000, 128] each."""
    from export.write import export
    from models.weights import open_original

    embedded = {}
    for name in ("autoencoder", "autoencoder-published"):
        file = tmp_path_factory.mktemp("exported") / f"{name}.onnx"
        export(open_original(name, originals_dir / "autoencoder_model.h5"), file, num_images=500)
        embedded[name] = Encoder.load(file).embed(test_split[0])
    return embedded


@pytest.mark.parametrize("use_index", [False, True])
def test_the_published_figures_come_out_exactly(vectors: Any, test_split: Any, use_index: bool) -> None:
    figures = published_protocol(vectors["autoencoder-published"], test_split[1], use_index=use_index)
    assert {name: round(value, 4) for name, value in figures.items()} == PUBLISHED


@pytest.mark.parametrize("use_index", [False, True])
@pytest.mark.parametrize(("name", "metric"), LEAVE_ONE_OUT)
def test_all_queries_give_what_tensorflow_gave(
    vectors: Any, test_split: Any, name: str, metric: Any, use_index: bool
) -> None:
    row = leave_one_out(name, vectors[name], test_split[1], metric, use_index=use_index)
    figures = (row.precision_at_1, row.precision_at_5, row.precision_at_10, row.precision_at_20, row.hit_rate_at_5)
    np.testing.assert_allclose(figures, LEAVE_ONE_OUT[name, metric], atol=5e-4)


def test_the_shipped_models_are_as_good_as_they_are_said_to_be(test_split: Any) -> None:
    images, labels = test_split
    encoder = Encoder.load("siamese")
    siamese = leave_one_out("siamese", encoder.embed(images), labels, encoder.card.metric)
    assert siamese.precision_at_1 >= 0.895
    assert siamese.precision_at_5 >= 0.895
    encoder = Encoder.load("autoencoder")
    autoencoder = leave_one_out("autoencoder", encoder.embed(images), labels, encoder.card.metric)
    assert autoencoder.precision_at_5 >= 0.775


@pytest.mark.parametrize("models", [["nosuch"], ["autoencoder", "nosuch"]])
def test_an_unknown_model_is_one_line_before_anything_is_measured(models: list[str]) -> None:
    command = [sys.executable, "-m", "bench.retrieval", *models]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: unknown model 'nosuch'; here are: autoencoder, siamese")
