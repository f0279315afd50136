"""The graphs inside the package are those that the code beside them makes."""

from __future__ import annotations

import onnx
import pytest

from export.matching import content
from semblance.local.nearest import graphs_folder


@pytest.mark.parametrize("name", ["bytes", "floats"])
def test_the_shipped_graph_is_the_one_that_is_made(name: str) -> None:
    shipped = graphs_folder() / f"{name}.onnx"
    # what they say, not their bytes: another version of onnx may order these otherwise
    assert onnx.load(shipped) == onnx.load_from_string(content(name))
