"""Operations counted from shapes: small graphs by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.operations import operations_of
from tests.conftest import MakeTinyModel


def test_a_product_is_two_for_each_weight(tiny_model_maker: MakeTinyModel) -> None:
    assert operations_of(tiny_model_maker("tiny", dimension=16).path) == 2 * 64 * 16


def test_a_convolution_is_two_for_each_weight_and_place(tmp_path: Path) -> None:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    weights = numpy_helper.from_array(np.zeros((6, 2, 3, 3), np.float32), "w")  # 4 channels in 2 groups
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], group=2, strides=[2, 2], pads=[1, 1, 1, 1])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 6, 4, 4])], [weights],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "c.onnx")
    assert operations_of(tmp_path / "c.onnx") == 2 * 6 * 4 * 4 * 2 * 3 * 3


def test_a_layer_whose_shape_is_not_known_is_an_error_and_not_nothing(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "M"]),
         helper.make_tensor_value_info("w", TensorProto.FLOAT, ["M", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "u.onnx")
    with pytest.raises(ValueError, match="MatMul"):
        operations_of(tmp_path / "u.onnx")
