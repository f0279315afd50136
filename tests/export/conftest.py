"""Tiny graphs made by hand, and one way to run them: what the rules do to a graph is compared by numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

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
