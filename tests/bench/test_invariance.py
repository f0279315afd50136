"""What a batch does to an image's embedding: nothing where rows never meet, and a model whose rows do is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.gpu_check.invariance import differences_by_size
from bench.invariance import measure
from semblance.inference.models import zoo_folder
from semblance.inference.session import Session
from tests.conftest import TinyModel


def images(num: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, 8, 8, 1), dtype=np.uint8)


def test_every_size_is_looked_at(tiny_model: TinyModel) -> None:
    found = differences_by_size(Session(tiny_model.path, backend="cpu", threads=2, max_batch=9), images(9))
    assert list(found) == list(range(1, 10))
    assert max(found.values()) < 1e-6


def test_a_graph_whose_rows_meet_is_found(tiny_model: TinyModel, tmp_path: Path) -> None:
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(tiny_model.path)
    model.graph.node[-1].output[0] = "rows"
    model.graph.node.append(helper.make_node("ReduceMean", ["rows", "batch_axis"], ["mean"], keepdims=1))
    model.graph.node.append(helper.make_node("Sub", ["rows", "mean"], ["embedding"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "batch_axis"))
    onnx.save(model, tmp_path / "meeting.onnx")
    assert (
        max(differences_by_size(Session(tmp_path / "meeting.onnx", backend="cpu", max_batch=4), images(4)).values())
        > 0.01
    )


def test_a_backend_without_the_precision_has_no_row(fashion_mnist_dir: Path) -> None:
    path = zoo_folder() / "autoencoder.onnx"
    assert measure(path, "cuda", num=22, threads=1, images=None) is None
    row = measure(path, "cpu", num=22, threads=1, images=None)
    assert row is not None
    assert row["sizes"] == 22
    assert row["largest_difference"] < 1e-6
