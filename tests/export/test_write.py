"""From an original to a file: equal to TensorFlow, with its card, in one piece or not at all."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from export import write
from export.graph import build_graph
from export.parity import ParityError, measure_parity, run_original
from export.simplify import shape_arithmetic
from export.write import ExportError, export
from models.base import find
from models.weights import Opened, open_original
from semblance.card import read_card
from semblance.errors import InputError


@pytest.fixture(scope="module")
def garments(fashion_mnist_dir) -> np.ndarray:
    from semblance.inputs.idx import read_idx

    return read_idx(fashion_mnist_dir / "t10k-images-idx3-ubyte.gz")[:300, ..., None]


@pytest.fixture(scope="module")
def autoencoder() -> Opened:
    return open_original("autoencoder", "random", seed=3)


@pytest.fixture(scope="module")
def siamese() -> Opened:
    return open_original("siamese", "random", seed=3)


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("name", ["autoencoder", "siamese"])
def test_a_small_original_end_to_end(name, opset, request, tmp_path, garments):
    opened = request.getfixturevalue(name)
    out = tmp_path / "made" / "model.onnx"
    card, parity = export(opened, out, opset=opset, num_images=300)
    assert parity.max_unit_error <= 1e-5
    assert parity.overlap_at_10 >= 0.999
    assert parity.num_images == 300
    assert read_card(out) == card
    assert card.parity == parity.as_card()
    assert (card.weights_sha256, card.source, card.opset) == (opened.weights_sha256, "random, seed 3", opset)
    assert [each.name for each in out.parent.iterdir()] == ["model.onnx"]

    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert not shape_arithmetic(model)
    assert model.opset_import[0].version == opset
    assert [each.name for each in (*model.graph.input, *model.graph.output)] == ["image", "embedding"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "N"

    expected = run_original(opened, garments)
    session = _session(out)
    for size in (1, 2, 37):
        given = session.run(None, {"image": garments[:size]})[0]
        assert given.shape == (size, card.dimension)
        np.testing.assert_allclose(given, expected[:size], atol=1e-5 * np.abs(expected).max())


def test_what_an_image_passes_through(autoencoder, siamese):
    """No pass over the pixels but their cast, no transposes but the one that keeps the original's order."""
    kinds = [each.op_type for each in build_graph(autoencoder).graph.node]
    assert kinds == ["Cast", "Reshape", *["Conv", "Relu", "MaxPool"] * 3, "Transpose", "Reshape"]
    kinds = [each.op_type for each in build_graph(siamese).graph.node]
    assert kinds[:3] == ["Slice", "Cast", "Reshape"]
    assert kinds[3:10] == [*["Conv", "Relu", "MaxPool"] * 2, "Reshape"]
    assert kinds[10:] == ["Gemm", "Relu", "Gemm", "Relu", "Mul", "Add", "ReduceL2", "Max", "Div"]


def test_the_same_original_gives_the_same_file(autoencoder):
    assert build_graph(autoencoder).SerializeToString() == build_graph(autoencoder).SerializeToString()


def test_an_embedding_of_length_zero_is_normalised_as_tensorflow_does(siamese, garments):
    last = siamese.network.layers[-1]
    kept = last.get_weights()
    try:
        last.set_weights([np.zeros_like(each) for each in kept[:3]] + [np.ones_like(kept[3])])
        parity = measure_parity(build_graph(siamese).SerializeToString(), siamese, garments[:20], described="")
        assert not run_original(siamese, garments[:2]).any()
    finally:
        last.set_weights(kept)
    assert (parity.max_unit_error, parity.min_cosine) == (0, 1)


def test_a_weight_that_is_off_is_an_error_and_an_older_file_stays(autoencoder, tmp_path, monkeypatch):
    out = tmp_path / "model.onnx"
    export(autoencoder, out, num_images=100)
    before = out.read_bytes()

    def tampered(opened: Opened, *, opset: int) -> onnx.ModelProto:
        model = build_graph(opened, opset=opset)
        weights = next(each for each in model.graph.initializer if len(each.dims) == 4)
        array = onnx.numpy_helper.to_array(weights).copy()
        array[0, 0, 1, 1] *= 1.01
        weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
        return model

    monkeypatch.setattr(write, "build_graph", tampered)
    with pytest.raises(ParityError, match=r"max_unit_error.*All figures on 100 images"):
        export(autoencoder, out, num_images=100)
    assert out.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_a_place_that_cannot_be_written_is_said_before_the_work(autoencoder, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "model.onnx", tmp_path, tmp_path / "model.pb"):
        with pytest.raises(ExportError, match="give"):
            export(autoencoder, out)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("num_images", [0, 1])
def test_one_image_has_no_neighbours(autoencoder, tmp_path, num_images):
    with pytest.raises(InputError, match="at least 2"):
        export(autoencoder, tmp_path / "model.onnx", num_images=num_images)
    assert not list(tmp_path.iterdir())


def test_another_opset_is_refused(autoencoder):
    with pytest.raises(InputError, match="16"):
        build_graph(autoencoder, opset=16)


def test_a_feature_map_is_no_embedding(autoencoder):
    unpooled = dataclasses.replace(autoencoder, original=dataclasses.replace(autoencoder.original, pooling="none"))
    with pytest.raises(InputError, match="--pooling"):
        build_graph(unpooled)


def test_the_published_autoencoder(originals_dir, tmp_path):
    opened = open_original("autoencoder-published", originals_dir / "autoencoder_model.h5")
    card, parity = export(opened, tmp_path / "published.onnx", num_images=1000)
    assert card.dimension == 128
    assert parity.overlap_at_10 >= 0.999


def test_mobilenet_on_photographs(weights_dir, caltech_dir, tmp_path):
    """Depthwise convolutions, batch normalisation, padding of one side, pixels from -1 to 1; pretrained weights."""
    opened = open_original(find("mobilenet", alpha=0.75), weights_dir / "mobilenet_v1_075_224_notop.weights.h5")
    card, parity = export(opened, tmp_path / "mobilenet.onnx", num_images=24)
    assert (card.dimension, card.channels) == (768, 3)
    assert parity.images == "24 photographs of Caltech101"
    assert parity.min_cosine >= 0.99999
    kinds = {each.op_type for each in onnx.load(tmp_path / "mobilenet.onnx").graph.node}
    assert kinds == {
        "Transpose", "Cast", "Sub", "Conv", "Clip", "GlobalAveragePool", "Reshape", "ReduceL2", "Max", "Div",
    }  # fmt: skip


def test_resnet50_needs_no_pass_but_the_mean(caltech_dir):
    """Channel order and batch normalisation lie in the weights, padding in the pooling; one transpose moves bytes."""
    opened = open_original("resnet50", "random", seed=1)
    model = build_graph(opened)
    kinds = [each.op_type for each in model.graph.node]
    assert kinds[:6] == ["Transpose", "Cast", "Sub", "Conv", "Relu", "MaxPool"]
    assert set(kinds[6:]) == {"Conv", "Relu", "Add", "GlobalAveragePool", "Reshape", "ReduceL2", "Max", "Div"}
    assert kinds.count("Conv") == 53
    images = np.random.default_rng(0).integers(0, 256, (6, 224, 224, 3), dtype=np.uint8)
    parity = measure_parity(model.SerializeToString(), opened, images, described="noise")
    assert parity.min_cosine >= 0.99999
