"""Tiny graphs made by hand, and one way to run them: what the rules do to a graph is compared by numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from semblance.card import CARD_KEY, ModelCard

Run = Callable[..., NDArray[Any]]
Build = Callable[..., onnx.ModelProto]


@pytest.fixture
def build() -> Build:
    """A model of nodes and named constants, from `image` to `embedding`, the batch called N."""

    def make(
        nodes: Sequence[onnx.NodeProto],
        constants: dict[str, NDArray[Any]],
        *,
        image: Sequence[int],
        embedding: Sequence[int],
        dtype: int = TensorProto.FLOAT,
        opset: int = 18,
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            list(nodes),
            "tiny",
            [helper.make_tensor_value_info("image", dtype, ["N", *image])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", *embedding])],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model

    return make


@pytest.fixture
def run() -> Run:
    """The embeddings of a model in ONNX Runtime, its own optimisations off: what the file says is what is run."""

    def embed(model: onnx.ModelProto, images: NDArray[Any]) -> NDArray[Any]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(["embedding"], {"image": images})[0]

    return embed


# ----------------------------------------------------------------------------------------------------------------------
# Small networks with what makes large ones hard in few bits, and pictures that they tell apart

SIZE = 16


@pytest.fixture
def mobile(build: Build) -> onnx.ModelProto:
    """uint8 [N, 16, 16, 3], x - 127.5, a strided, a depthwise and a pointwise convolution with ReLU6, mean, norm."""
    rng = np.random.default_rng(3)
    make = helper.make_node
    constants = {
        "middle": np.float32(127.5),
        "zero": np.float32(0),
        "six": np.float32(6),
        "w1": rng.normal(0, 0.01, (8, 3, 3, 3)).astype(np.float32),
        "b1": rng.normal(1, 1, 8).astype(np.float32),
        # channels of very different size: one scale for all of them would be the end of the small ones
        "w2": (rng.normal(0, 0.3, (8, 1, 3, 3)) * np.geomspace(0.02, 2, 8).reshape(8, 1, 1, 1)).astype(np.float32),
        "b2": rng.normal(0.5, 0.5, 8).astype(np.float32),
        "w3": rng.normal(0, 0.3, (24, 8, 1, 1)).astype(np.float32),
        "b3": rng.normal(0.5, 0.5, 24).astype(np.float32),
        "flat": np.asarray([0, -1], np.int64),
        "axes": np.asarray([1], np.int64),
        "least": np.float32(1e-6),
    }
    nodes = [
        make("Transpose", ["image"], ["t"], "transpose", perm=[0, 3, 1, 2]),
        make("Cast", ["t"], ["c"], "cast", to=TensorProto.FLOAT),
        make("Sub", ["c", "middle"], ["centred"], "sub"),
        make("Conv", ["centred", "w1", "b1"], ["y1"], "conv_1", strides=[2, 2], pads=[0, 0, 1, 1]),
        make("Clip", ["y1", "zero", "six"], ["a1"], "clip_1"),
        make("Conv", ["a1", "w2", "b2"], ["y2"], "conv_2", group=8, pads=[1, 1, 1, 1]),
        make("Clip", ["y2", "zero", "six"], ["a2"], "clip_2"),
        make("Conv", ["a2", "w3", "b3"], ["y3"], "conv_3"),
        make("Clip", ["y3", "zero", "six"], ["a3"], "clip_3"),
        make("GlobalAveragePool", ["a3"], ["m"], "mean"),
        make("Reshape", ["m", "flat"], ["features"], "flatten"),
        make("ReduceL2", ["features", "axes"], ["length"], "length", keepdims=1),
        make("Max", ["length", "least"], ["divisor"], "bound"),
        make("Div", ["features", "divisor"], ["embedding"], "normalize"),
    ]
    return build(nodes, constants, image=(SIZE, SIZE, 3), embedding=(24,), dtype=TensorProto.UINT8)


@pytest.fixture
def residual(build: Build) -> onnx.ModelProto:
    """uint8 [N, 16, 16, 3], a convolution, max pooling, a block with a sum, a flatten and two dense layers."""
    rng = np.random.default_rng(4)
    make = helper.make_node
    constants = {
        "w1": rng.normal(0, 0.003, (8, 3, 3, 3)).astype(np.float32),
        "b1": rng.normal(0.2, 0.5, 8).astype(np.float32),
        "w2": rng.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32),
        "b2": rng.normal(0, 0.2, 8).astype(np.float32),
        "w3": rng.normal(0, 0.1, (512, 32)).astype(np.float32),
        "b3": rng.normal(0, 0.2, 32).astype(np.float32),
        "w4": rng.normal(0, 0.2, (16, 32)).astype(np.float32),
        "b4": rng.normal(0, 0.2, 16).astype(np.float32),
        "flat": np.asarray([0, -1], np.int64),
    }
    nodes = [
        make("Cast", ["image"], ["c"], "cast", to=TensorProto.FLOAT),
        make("Transpose", ["c"], ["t"], "transpose", perm=[0, 3, 1, 2]),
        make("Conv", ["t", "w1", "b1"], ["y1"], "conv_1", pads=[1, 1, 1, 1]),
        make("Relu", ["y1"], ["a1"], "relu_1"),
        make("MaxPool", ["a1"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        make("Conv", ["p", "w2", "b2"], ["y2"], "conv_2", pads=[1, 1, 1, 1]),
        make("Add", ["y2", "p"], ["s"], "add"),
        make("Relu", ["s"], ["a2"], "relu_2"),
        make("Reshape", ["a2", "flat"], ["f"], "flatten"),
        make("Gemm", ["f", "w3", "b3"], ["y3"], "gemm_3"),
        make("Relu", ["y3"], ["a3"], "relu_3"),
        make("Gemm", ["a3", "w4", "b4"], ["embedding"], "gemm_4", transB=1),
    ]
    return build(nodes, constants, image=(SIZE, SIZE, 3), embedding=(16,), dtype=TensorProto.UINT8)


def draw(num: int, *, classes: int = 4, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Pictures [N, 16, 16, 3] of stripes, whose direction and colour are their class, with noise; and labels [N]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    kinds = np.arange(num) % classes
    images = np.empty((num, SIZE, SIZE, 3), np.uint8)
    for image, kind in zip(images, kinds, strict=True):
        waves = np.sin((kind + 1) * 0.4 * rows + (classes - kind) * 0.3 * columns + rng.uniform(0, 3))
        tint = 60 * np.cos(kind + np.arange(3))
        image[:] = np.clip(128 + tint + 50 * waves[..., None] + rng.normal(0, 25, image.shape), 0, 255)
    return images, kinds.astype(str)


@pytest.fixture
def pictures() -> NDArray[np.uint8]:
    """40 pictures [40, 16, 16, 3] of four classes."""
    return draw(40)[0]


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 such pictures as PNG files, in a folder for each class."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, (image, label) in enumerate(zip(*draw(200), strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        cv2.imwrite(str(folder / str(label) / f"{number:03d}.png"), image[..., ::-1])
    return folder


@pytest.fixture
def mobile_file(mobile: onnx.ModelProto, tmp_path: Path) -> Path:
    """That network as an fp32 file with a card."""
    card = ModelCard(
        name="mobile", height=SIZE, width=SIZE, channels=3, dimension=24, metric="cos", unit_length=True,
        architecture="mobile", layer="clip_3", pooling="average", preprocess="centred", weights_sha256="ab" * 32,
        parity={"min_cosine": 1.0},
    )  # fmt: skip
    mobile.metadata_props.add(key=CARD_KEY, value=card.to_json())
    path = tmp_path / "mobile.onnx"
    onnx.save(mobile, path)
    return path
