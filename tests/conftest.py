"""What every test shares: the real data, or an honest reason why it is not here, and a model that needs none."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.card import CARD_KEY, ModelCard
from semblance.errors import SourceError
from semblance.home import home
from semblance.inputs.datasets import find_fashion_mnist

_SHARED = Path(__file__).parents[2] / "shared" / "data"  # beside the checkout


@pytest.fixture(scope="session", autouse=True)
def _nothing_tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What `semblance tune` found for whoever runs the tests decides nothing in them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semblance.inference.tuned.folder", lambda: tmp_path_factory.getbasetemp() / "tuned")
        yield


@pytest.fixture(scope="session", autouse=True)
def _data_beside_the_checkout() -> Iterator[None]:
    """`semblance` finds the data beside the checkout from any working directory; a user's own choice stays."""
    with pytest.MonkeyPatch.context() as patch:
        if _SHARED.is_dir() and not os.environ.get("SEMBLANCE_DATA"):
            patch.setenv("SEMBLANCE_DATA", str(_SHARED))
        yield


def _is_missing(reason: str) -> NoReturn:
    """Without real data a test skips and says so; in CI, where it lies beside the checkout, that is a failure."""
    if os.environ.get("CI") == "true" and _SHARED.is_dir():
        pytest.fail(reason)
    pytest.skip(reason)


def _data_folder(name: str) -> Path:
    """A folder of the real data, in the first place that has it: SEMBLANCE_DATA, ../shared/data or the cache."""
    named = os.environ.get("SEMBLANCE_DATA")
    places = [*([Path(named).expanduser()] if named else []), _SHARED, home()]
    for place in places:
        if (place / name).is_dir():
            return place / name
    looked = ", ".join(map(str, dict.fromkeys(places)))
    _is_missing(f"no {name} in {looked}; put it into one of these folders, or set SEMBLANCE_DATA to one that has it")


@pytest.fixture(scope="session")
def fashion_mnist_dir() -> Path:
    """The four idx.gz files of Fashion-MNIST, found or downloaded; a test that calls `fashion_mnist` needs this."""
    try:
        return find_fashion_mnist()
    except SourceError as error:
        _is_missing(str(error))


@pytest.fixture(scope="session")
def caltech_dir() -> Path:
    """Caltech101's first 45 photographs of each class, as one tar."""
    return _data_folder("caltech101")


@pytest.fixture(scope="session")
def sift_pairs_dir() -> Path:
    """Pairs of photographs of one thing, with where its points are in each."""
    return _data_folder("sift-pairs")


@pytest.fixture(scope="session")
def originals_dir() -> Path:
    """The published model files."""
    return _data_folder("originals")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """The pretrained MobileNet weights."""
    return _data_folder("weights")


# ----------------------------------------------------------------------------------------------------------------------
# A model without weights, TensorFlow or network: a seeded projection of the pixels


@dataclass(frozen=True)
class TinyModel:
    """The ONNX file and the matrix [pixels, D] inside it, from which any answer can be worked out in numpy."""

    path: Path
    card: ModelCard
    matrix: NDArray[np.float32]

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The plain reference: uint8 [N, H, W, C] -> float32 [N, D]."""
        flat = images.reshape(len(images), len(self.matrix)).astype(np.float32)
        return flat @ self.matrix


MakeTinyModel = Callable[..., TinyModel]


def make_tiny_model(
    path: Path, *, height: int = 8, width: int = 8, channels: int = 1, dimension: int = 16, seed: int = 0, **fields: Any
) -> TinyModel:
    """Write a model of `image` uint8 [N, H, W, C] -> `embedding` = flattened pixels @ seeded matrix."""
    from onnx import TensorProto, helper, numpy_helper, save

    pixels = height * width * channels
    matrix = np.random.default_rng(seed).normal(0, 1 / 255, (pixels, dimension)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "flat_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, width, channels])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", dimension])],
        [
            numpy_helper.from_array(np.array([-1, pixels]), "flat_shape"),
            numpy_helper.from_array(matrix, "matrix"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    card = ModelCard(
        **{
            "name": path.stem,
            "height": height,
            "width": width,
            "channels": channels,
            "dimension": dimension,
            "metric": "l2sq",
            "unit_length": False,
            "architecture": "tiny_projection",
            "layer": "matmul",
            "pooling": "flatten",
            "preprocess": "none",
            "weights_sha256": hashlib.sha256(matrix.tobytes()).hexdigest(),
            **fields,
        }
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = CARD_KEY, card.to_json()
    save(model, path)
    return TinyModel(path, card, matrix)


@pytest.fixture
def tiny_model(tmp_path: Path) -> TinyModel:
    """8x8 grey pixels to 16 dimensions, compared by squared Euclidean distance."""
    return make_tiny_model(tmp_path / "tiny.onnx")


@pytest.fixture
def tiny_model_maker(tmp_path: Path) -> MakeTinyModel:
    """`maker(name, **options)`: more of them."""

    def make(name: str, **options: Any) -> TinyModel:
        return make_tiny_model(tmp_path / f"{name}.onnx", **options)

    return make
