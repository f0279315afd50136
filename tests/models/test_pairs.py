"""Pairs are what they claim to be, half of either kind, and training on them brings classes together."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from export.keras_file import open_keras
from export.write import export
from models.facts import read_facts
from models.pairs import PairBatches, PairRecipe, draw_pairs, train_small
from models.pictures import Parts, Pictures
from models.preprocess import rescale_255
from models.safe import open_keras_file
from models.train import main
from semblance.errors import InputError


@pytest.mark.parametrize("number", [2, 101, 4000])
def test_every_second_pair_is_of_one_class_and_never_a_picture_with_itself(number: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 5], [1, 2, 30, 7]))
    pairs = draw_pairs(labels, number, np.random.default_rng(1))
    assert pairs.rows.shape == (number, 2)
    assert pairs.is_same.sum() == number // 2
    same = labels[pairs.rows[:, 0]] == labels[pairs.rows[:, 1]]
    np.testing.assert_array_equal(same, pairs.is_same)
    assert (pairs.rows[:, 0] != pairs.rows[:, 1]).all()
    again = draw_pairs(labels, number, np.random.default_rng(1))
    np.testing.assert_array_equal(again.rows, pairs.rows)


def test_every_possible_pair_is_drawn_at_some_time() -> None:
    labels = np.array([2, 0, 0, 1, 2, 2])
    pairs = draw_pairs(labels, 4000, np.random.default_rng(0))
    drawn = {tuple(row) for row in pairs.rows.tolist()}
    assert drawn == {(i, j) for i in range(6) for j in range(6) if i != j and (labels[i] == labels[j]) in (True, False)}
    counts = np.bincount(pairs.rows[pairs.is_same].ravel(), minlength=6)
    assert counts[3] == 0
    assert counts[[0, 1, 2, 4, 5]].max() < 1.3 * counts[[0, 1, 2, 4, 5]].min(), "no picture is favoured"


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [0], []])
def test_labels_without_pairs_of_both_kinds_are_refused(labels: list[int]) -> None:
    with pytest.raises(InputError, match="no pair of one class or none of two"):
        draw_pairs(np.array(labels, np.int64), 4, np.random.default_rng(0))


def test_batches_draw_anew_each_epoch_unless_they_are_fixed() -> None:
    images = np.arange(12, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2)
    labels, rows = np.repeat([0, 1, 2], 4), np.arange(12)
    for is_fixed in (False, True):
        batches = PairBatches(images, labels, rows, PairRecipe(batch=6, augment=False), preprocess=rescale_255,
                              number=20, is_fixed=is_fixed)  # fmt: skip
        epochs = []
        for _ in range(2):
            values, is_same = (np.concatenate(each) for each in zip(*(batches[i] for i in range(4)), strict=True))
            numbers = np.rint(values[:, :, 0, 0, 0] * 255).astype(int)  # [20, 2]
            np.testing.assert_array_equal(labels[numbers[:, 0]] == labels[numbers[:, 1]], is_same)
            epochs.append(numbers.tolist())
            batches.on_epoch_end()
        assert (epochs[0] == epochs[1]) == is_fixed


def test_training_brings_classes_together_and_others_apart() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    images = generator.integers(0, 60, (80, 8, 8, 1), np.uint8)
    images[labels == 1, :, :4] += 150
    rows = generator.permutation(80)
    pictures = Pictures("drawn", images, labels, ("a", "b"), tuple(map(str, range(80))))
    recipe = PairRecipe(epochs=6, batch=16, learning_rate=0.01, augment=False)
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.layers.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4, name="features")]
    )
    trained = train_small(pictures, Parts(rows[:40], rows[40:60], rows[60:]), network, recipe, verbose=0)
    assert trained.figures["test accuracy"] > 0.9
    assert trained.layer == "features"
    vectors = trained.network.predict(images[rows[60:]] / 255.0, verbose=0)
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    same = labels[rows[60:], None] == labels[rows[60:]]
    assert distances[same].max() < distances[~same].min()
    assert distances[~same].mean() > 0.7, "others are pushed to the margin"


def test_the_command_with_a_pretrained_base(picture_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.keras"
    arguments = ["pairs", str(picture_folder), "--base", "mobilenet", "--alpha", "0.25", "--weights", "random",
                 "--size", "32", "--epochs", "3", "--features", "8", "--pairs", "40", "--out", str(out)]  # fmt: skip
    assert main(arguments) == 0
    facts = read_facts(out)
    assert (facts.kind, facts.base, facts.layer, facts.metric) == ("pairs", "mobilenet-0.25", "features", "l2sq")
    assert not facts.unit_length
    assert facts.export_command(out).endswith("--preprocess tf --no-unit-length --metric l2sq")
    assert open_keras_file(out).output_shape == (None, 8)


def test_the_command_with_the_base_for_garments(tmp_path: Path, fashion_mnist_dir: Path) -> None:
    out = tmp_path / "garments.keras"
    arguments = ["pairs", "drawn-fashion:test:200", "--base", "siamese", "--epochs", "1", "--out", str(out)]
    assert main(arguments) == 0
    facts = read_facts(out)
    assert (facts.base, facts.size, facts.channels, facts.layer) == ("siamese", 28, 1, "embedding")
    opened = open_keras(out, layer=facts.layer, preprocess=facts.preprocess, unit_length=False, metric="l2sq")
    card, _ = export(opened, tmp_path / "garments.onnx", num_images=50)
    assert (card.dimension, card.metric, card.unit_length) == (64, "l2sq", False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base", "siamese", "--size", "32"], "28x28 grey"),
        (["--base", "cnn", "--weights", "random"], "--weights is of a network of Keras Applications"),
        (["--margin", "0"], "margin must be above 0"),
        (["--base", "nosuch"], "unknown backbone 'nosuch'"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, picture_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pairs", str(picture_folder), *arguments]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch": 0}, {"margin": -1.0}, {"num_pairs": 1}, {"dropout": 1.5}, {"learning_rate": 0.0}]
)
def test_recipes_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        dataclasses.replace(PairRecipe(), **wrong)
