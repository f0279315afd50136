"""Each recipe, run for a moment on a few real images: its loss falls, its seed decides, its network is a plain one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.recipes import Trained, draw_triplets, train_autoencoder, train_contrastive, train_triplets
from models.weights import weights_sha256
from semblance.inputs.idx import read_idx

Data = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def few(fashion_mnist_dir: Path) -> Data:
    images = read_idx(fashion_mnist_dir / "train-images-idx3-ubyte.gz")
    labels = read_idx(fashion_mnist_dir / "train-labels-idx1-ubyte.gz")
    return images[:1200], labels[:1200]


RECIPES: dict[str, Callable[..., Trained]] = {
    "autoencoder": lambda data, **options: train_autoencoder(data[0], held_out=200, **options),
    "triplet": lambda data, **options: train_triplets(*data, num_triplets=320, held_out=64, **options),
    "contrastive": lambda data, **options: train_contrastive(*data, precision="float32", **options),
}
PARAMETERS = {"autoencoder": 12_785, "triplet": 492_736, "contrastive": 492_736}


@pytest.mark.parametrize("name", RECIPES)
def test_loss_falls_and_the_network_is_the_published_one(name: str, few: Data) -> None:
    trained = RECIPES[name](few, epochs=3, verbose=0)
    loss = trained.curves["loss"]
    assert len(loss) == 3
    assert loss[-1] < 0.9 * loss[0]
    assert trained.network.count_params() == PARAMETERS[name]
    assert {weight.dtype for weight in trained.network.weights} == {"float32"}
    assert trained.network.compute_dtype == "float32"


def test_seed_decides(few: Data) -> None:
    small = (few[0][:200], few[1][:200])
    hashes = [
        weights_sha256(RECIPES["contrastive"](small, epochs=1, seed=seed, verbose=0).network) for seed in (1, 1, 2)
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_triplets_are_two_of_a_class_and_one_of_another() -> None:
    labels = np.repeat(np.arange(4, dtype=np.uint8), 3)
    triplets = draw_triplets(labels, 500, seed=0)
    anchors, positives, negatives = labels[triplets].T
    assert (anchors == positives).all()
    assert (anchors != negatives).all()
    assert (triplets[:, 0] != triplets[:, 1]).all()
    assert set(triplets.ravel()) == set(range(12))
    np.testing.assert_array_equal(triplets, draw_triplets(labels, 500, seed=0))
