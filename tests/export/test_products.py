"""The small graphs inside the package are those that the code beside them makes."""

from __future__ import annotations

import onnx
import pytest

from export.products import FILES, content


@pytest.mark.parametrize("name", FILES)
def test_the_shipped_graph_is_the_one_that_is_made(name: str) -> None:
    # what they say, not their bytes: another version of onnx may order these otherwise
    assert onnx.load(FILES[name]) == onnx.load_from_string(content(name))
