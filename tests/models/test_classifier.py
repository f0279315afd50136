"""A fine-tuned classifier from the command to the encoder, and what may and may not change on the way."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from export.keras_file import open_keras
from export.write import export
from models.backbones import find_backbone, open_backbone
from models.classifier import FEATURES, Recipe, thaw, train_classifier
from models.facts import facts_path, read_facts
from models.pictures import part, read_pictures
from models.safe import open_keras_file
from models.train import main
from semblance import Encoder
from semblance.errors import InputError

SIZE = 64
BACKBONE = ["--backbone", "mobilenet", "--alpha", "0.75", "--weights", "random", "--size", str(SIZE)]


@pytest.fixture(scope="module")
def trained(picture_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "new" / "mine.keras"
    arguments = ["classifier", str(picture_folder), *BACKBONE, "--head-epochs", "12", "--epochs", "1", "--batch", "8",
                 "--features", "16", "--lr", "0.01", "--dropout", "0.1", "--seed", "2", "--out", str(out)]  # fmt: skip
    assert main(arguments) == 0
    return out


def test_the_command_writes_a_model_its_facts_and_its_curves(trained: Path, picture_folder: Path) -> None:
    facts = read_facts(trained)
    assert trained.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert (facts.kind, facts.base, facts.layer, facts.preprocess) == ("classifier", "mobilenet-0.75", FEATURES, "tf")
    assert (facts.weights, facts.classes) == ("random, seed 2", ("blue", "green", "red"))
    assert len(facts.skipped) == 2
    assert (len(facts.train), len(facts.validation), len(facts.test)) == (24, 9, 9)
    assert not set(facts.train) & set(facts.test)
    num_epochs = len(facts.curves["loss"])
    assert 2 <= num_epochs <= 13
    assert all(len(values) == num_epochs for values in facts.curves.values())
    assert 1 <= facts.best_epoch <= num_epochs
    best = max(facts.curves["validation accuracy"])
    assert facts.figures["validation accuracy"] == pytest.approx(best), "the weights are those of the best epoch"
    assert best > 0.5, "three colours are more than guessed at"


def test_the_figures_are_those_of_the_pictures_held_out(trained: Path, picture_folder: Path) -> None:
    facts = read_facts(trained)
    network = open_keras_file(trained)
    pictures = read_pictures(str(picture_folder), size=SIZE)
    rows = [pictures.uris.index(uri) for uri in facts.test]
    shares = network.predict(pictures.images[rows].astype(np.float32) / 127.5 - 1, verbose=0)
    right = (shares.argmax(axis=1) == pictures.labels[rows]).mean()
    assert facts.figures["test accuracy"] == pytest.approx(right)


def test_the_exported_encoder_agrees(trained: Path, picture_folder: Path, caltech_dir: Path) -> None:
    facts = read_facts(trained)
    opened = open_keras(trained, layer=facts.layer, preprocess=facts.preprocess)
    card, parity = export(opened, trained.with_suffix(".onnx"), num_images=24)
    assert (card.dimension, card.height, card.metric, card.unit_length) == (16, SIZE, facts.metric, facts.unit_length)
    assert parity.min_cosine > 0.99999
    pictures = read_pictures(str(picture_folder), size=SIZE)
    network = open_keras_file(trained)
    cut = keras.Model(network.inputs[0], network.get_layer(FEATURES).output)
    features = cut.predict(pictures.images.astype(np.float32) / 127.5 - 1, verbose=0)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    got = Encoder.load(trained.with_suffix(".onnx"), backend="cpu", threads=1).embed(pictures.images)
    np.testing.assert_allclose(got, features, rtol=0, atol=1e-4)
    assert facts.export_command(trained) == f"python -m export --keras {trained} --layer features --preprocess tf"


def test_only_the_last_layers_move_and_batch_normalisation_never(picture_folder: Path) -> None:
    pictures = read_pictures(str(picture_folder), size=32)
    parts = part(pictures.labels, validation=0.2, test=0.2, seed=0)
    original = find_backbone("mobilenet", size=32, alpha=0.25)
    backbone, _ = open_backbone(original, "random")
    before = {layer.name: [each.copy() for each in layer.get_weights()] for layer in backbone.layers}
    recipe = Recipe(head_epochs=1, epochs=1, fine_tune_layers=6, batch=8, fine_tune_rate=0.01, patience=9)
    trained = train_classifier(pictures, parts, original, backbone, recipe, verbose=0)
    best_is_second = trained.best_epoch == 2
    changed = {
        name
        for name, weights in before.items()
        if any(not np.array_equal(a, b) for a, b in zip(weights, trained.network.get_layer(name).get_weights(),
                                                        strict=True))
    }  # fmt: skip
    last = {layer.name for layer in backbone.layers[-6:] if "bn" not in layer.name and layer.weights}
    assert changed == (last if best_is_second else set())
    assert last == {"conv_dw_13", "conv_pw_13"}


def test_thawed_layers_are_counted_from_the_end() -> None:
    layers = keras.layers
    network = keras.Sequential(
        [layers.Input((4,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(4), layers.BatchNormalization()]
    )
    thaw(network, first=1, end=4)
    assert [layer.trainable for layer in network.layers] == [False, False, True, False]


@pytest.mark.parametrize(
    "wrong",
    [{"head_epochs": 0}, {"epochs": -1}, {"fine_tune_layers": -1}, {"batch": 0}, {"dropout": 1.0},
     {"learning_rate": 0.0}, {"fine_tune_rate": -1.0}, {"num_features": 0}, {"seed": -1}],
)  # fmt: skip
def test_recipes_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        dataclasses.replace(Recipe(), **wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "resnt50"], "unknown backbone 'resnt50'"),
        ([*BACKBONE, "--out", "model.h5"], "a whole model is saved as .keras"),
        ([*BACKBONE, "--validation", "0.9"], "shares to validate and to test"),
        ([*BACKBONE, "--epochs", "-1"], "epochs must be at least 0"),
        (["--backbone", "mobilenet", "--alpha", "0.25", "--weights", "nowhere.h5"], "no weights file at nowhere.h5"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, picture_folder: Path, capsys: pytest.CaptureFixture[str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["classifier", str(picture_folder), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not list(tmp_path.iterdir())


def test_weights_that_cannot_be_downloaded_are_one_line(
    picture_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise Exception("URL fetch failure on https://example.org:\nNone -- no network")

    monkeypatch.setattr("keras.src.applications.mobilenet.file_utils.get_file", refuse)
    assert main(["classifier", str(picture_folder), "--backbone", "mobilenet", "--size", "32"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be downloaded" in line
    assert "--weights FILE" in line


def test_facts_that_are_missing_or_damaged_are_told(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no facts at"):
        read_facts(tmp_path / "other.keras")
    text = facts_path(trained).read_text()
    for damaged in (text.replace('"format": 1', '"format": 2'), text[:100], "[]", text.replace('"kind"', '"kid"')):
        facts_path(tmp_path / "other.keras").write_text(damaged)
        with pytest.raises(InputError, match="train it again"):
            read_facts(tmp_path / "other.keras")
