"""One image's embedding, whatever batch it is in and wherever: by backend and precision."""

from __future__ import annotations

import numpy as np
import pytest

from semblance.inference.models import zoo_folder
from semblance.inference.session import Session
from semblance.inputs.datasets import fashion_mnist

# Of a coordinate, to the longest embedding: float32 sums in another order. Zero where the kernels do not change
MOST = 2e-6


@pytest.mark.parametrize("backend", ["cpu", "openvino"])
@pytest.mark.parametrize("name", ["siamese", "siamese.int8", "autoencoder"])
@pytest.mark.usefixtures("fashion_mnist_dir")
def test_an_embedding_is_the_same_in_any_batch_and_place(name: str, backend: str) -> None:
    session = Session(zoo_folder() / f"{name}.onnx", backend=backend, threads=2, max_batch=64)
    images = fashion_mnist("test")[0][:200][..., None]
    alone = np.concatenate([session.run(image[None]) for image in images])
    length = float(np.linalg.norm(alone, axis=1).max())
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 17, 32, 33, 64, 65, 130):
        chosen = rng.choice(len(images), size)
        found = session.run(images[chosen])
        assert np.abs(found - alone[chosen]).max() / length <= MOST
