"""Hostile model files are refused before Keras reads them, honest ones open, in both formats."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from models.fill import WeightsError
from models.safe import UnsafeModelError, check_config, open_keras_file

FORMATS = ["keras", "h5"]


def _network(*inner: layers.Layer) -> keras.Model:
    return keras.Sequential([layers.Input((6, 6, 3)), *inner, layers.Flatten(), layers.Dense(2)])


@pytest.mark.parametrize("suffix", FORMATS)
def test_lambda_is_refused_and_never_run(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = str(tmp_path / "it-ran")
    path = tmp_path / f"hostile.{suffix}"
    payload = layers.Lambda(lambda x: (open(trace, "w").close(), x)[1], output_shape=(6, 6, 3))
    _network(payload).save(path)
    Path(trace).unlink(missing_ok=True)

    def read_by_keras(*_: Any, **__: Any) -> None:
        pytest.fail("Keras was given a file that should have been refused")

    monkeypatch.setattr(keras.saving, "load_model", read_by_keras)
    with pytest.raises(UnsafeModelError, match="'Lambda' layer can run code"):
        open_keras_file(path)
    assert not Path(trace).exists()


@keras.saving.register_keras_serializable(package="somebody")
class Foreign(layers.Layer):
    """A class that Keras would take from its registry, or import."""


@pytest.mark.parametrize("suffix", FORMATS)
def test_foreign_class_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"foreign.{suffix}"
    _network(Foreign()).save(path)
    with pytest.raises(UnsafeModelError, match=r"Foreign.*not a plain part of Keras"):
        open_keras_file(path)


@pytest.mark.parametrize(
    "hostile",
    [
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
        {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"},
        {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"},
        {"module": "keras.config", "class_name": "enable_unsafe_deserialization", "config": {}},
        {"module": "keras.src.ops.numpy", "class_name": "os", "config": {}},
        {"module": "keras_evil", "class_name": "Dense", "config": {}, "registered_name": None},
        {"module": "keras.layers", "class_name": "Dense", "config": {}, "registered_name": "somebody>Foreign"},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/tmp/x"}},
        {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
        {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"module": "gASV"}},
        {"class_name": "Lambda", "config": {"function": ["4wEAAAA=", None, None]}},
        {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
        {"class_name": ["Lambda"], "config": {}},
    ],
    ids=lambda hostile: str(hostile["class_name"]) + "-" + str(hostile.get("module")),
)
@pytest.mark.parametrize("depth", ["layer", "deep"])
def test_hostile_objects_are_found_at_any_depth(hostile: dict[str, Any], depth: str) -> None:
    inner = hostile if depth == "layer" else {"a": [[{"b": {"activation": hostile}}]]}
    config = {"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense", "config": {"x": inner}}]}}
    with pytest.raises(UnsafeModelError, match="refused"):
        check_config(config, where="it")


@pytest.mark.parametrize("suffix", FORMATS)
def test_honest_compiled_model_opens_with_its_weights(suffix: str, tmp_path: Path) -> None:
    network = _network(
        layers.Rescaling(1 / 255),
        layers.Conv2D(4, 3, activation=keras.activations.gelu, kernel_regularizer="l2", bias_constraint="max_norm"),
        keras.Sequential([layers.BatchNormalization(), layers.LeakyReLU()]),
    )
    network.compile("adam", "mse")
    path = tmp_path / f"honest.{suffix}"
    network.save(path)
    images = np.random.default_rng(0).random((2, 6, 6, 3), np.float32)
    np.testing.assert_array_equal(open_keras_file(path)(images), network(images))


def test_operations_on_tensors_open(tmp_path: Path) -> None:
    image = keras.Input((4, 4, 3))
    keras.Model(image, layers.GlobalAveragePooling2D()(image / 127.5 - 1.0)).save(tmp_path / "ops.keras")
    assert open_keras_file(tmp_path / "ops.keras").output_shape == (None, 3)


def test_published_files_open(originals_dir: Path) -> None:
    assert open_keras_file(originals_dir / "autoencoder_model.h5").count_params() == 12_785
    assert open_keras_file(originals_dir / "siamese_model.keras").count_params() == 492_736


def test_files_that_are_no_models_say_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no model file at"):
        open_keras_file(tmp_path / "absent.keras")
    (tmp_path / "text.onnx").write_text("x")
    with pytest.raises(WeightsError, match=r"\.keras or \.h5 files, not '\.onnx'"):
        open_keras_file(tmp_path / "text.onnx")
    for name in ("text.keras", "text.h5"):
        (tmp_path / name).write_text("not a model")
        with pytest.raises(WeightsError, match="not a whole Keras model"):
            open_keras_file(tmp_path / name)
    _network().save_weights(tmp_path / "only.weights.h5")
    with pytest.raises(WeightsError, match="only weights"):
        open_keras_file(tmp_path / "only.weights.h5")


def test_damaged_configurations_say_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "broken.keras", "w") as archive:
        archive.writestr("config.json", '{"class_name": ')
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": 3}})
    with pytest.raises(WeightsError, match="not a whole Keras model"):
        open_keras_file(tmp_path / "broken.keras")
    with pytest.raises(WeightsError, match="cannot build"):
        open_keras_file(tmp_path / "odd.h5")
