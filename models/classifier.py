"""A pretrained network taught to tell a folder's classes apart: its head first, then its last layers.

In: pictures, their parts, and a network of Keras Applications with weights. Out: one flat classifier whose layer
`features` is an embedding that knows the classes. The head is trained on features that are computed once, since the
network below does not move then. Batch normalisation keeps the statistics it came with in both phases: those of a few
hundred pictures would be worse.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from models.base import Original
from models.batches import Batches, Preprocess, predict
from models.curves import Curves
from models.keep_best import KeepBest, joined
from models.pictures import Parts, Pictures, Rows
from semblance.errors import InputError

FEATURES = "features"  # the layer that is the embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a classifier is trained. Raises InputError for what makes no sense."""

    head_epochs: int = 30  # at most, of the head alone
    epochs: int = 10  # at most, of the last layers as well
    fine_tune_layers: int = 20  # of the network below, counted from its end; 0: the head alone
    batch: int = 32
    learning_rate: float = 1e-3  # of the head
    fine_tune_rate: float = 1e-4  # of the last layers; falls to zero by half a cosine
    dropout: float = 0.3
    num_features: int = 256
    augment: bool = True  # mirrored and cut at random
    patience: int = 5  # epochs without a better one
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("head_epochs", 1), ("epochs", 0), ("fine_tune_layers", 0), ("batch", 1),
                            ("num_features", 1), ("patience", 1), ("seed", 0)):  # fmt: skip
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, is {getattr(self, name)}")
        if not (self.learning_rate > 0 and self.fine_tune_rate > 0):
            raise InputError(
                f"learning rates must be above 0, are {self.learning_rate:g} and {self.fine_tune_rate:g}; usual are "
                "1e-3 for the head and a tenth of it for the layers below"
            )
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must lie in 0..1, 1 left out, is {self.dropout:g}")


@dataclass(frozen=True, slots=True)
class TrainedClassifier:
    """A classifier with its best weights, and how it came to them."""

    network: keras.Model
    curves: Curves
    best_epoch: int  # counted from 1 through both phases
    figures: dict[str, float]  # accuracies of these weights


def train_classifier(
    pictures: Pictures, parts: Parts, original: Original, backbone: keras.Model, recipe: Recipe, *, verbose: int = 2
) -> TrainedClassifier:
    """Teach `backbone`, the filled network of `original`, the classes of `pictures`; it is changed in place."""
    keras.utils.set_random_seed(recipe.seed)
    num_layers = len(backbone.layers)
    backbone.trainable = False
    network = _with_head(backbone, len(pictures.classes), recipe)

    head, history, best, best_epoch = _train_head(network, pictures, parts, original, recipe, verbose)
    phases = [history]
    for name in (FEATURES, "classes"):
        network.get_layer(name).set_weights(head.get_layer(name).get_weights())

    if recipe.fine_tune_layers and recipe.epochs:
        thaw(network, first=num_layers - recipe.fine_tune_layers, end=num_layers)
        keep = KeepBest("val_accuracy", patience=recipe.patience, mark=best)
        phases.append(_fine_tune(network, pictures, parts, original, recipe, keep, verbose))
        if keep.best_epoch >= 0:
            best_epoch = len(history["loss"]) + keep.best_epoch
    figures = accuracies(network, pictures, parts, original.preprocess)
    return TrainedClassifier(network, joined(phases), best_epoch + 1, figures)


def _with_head(backbone: keras.Model, num_classes: int, recipe: Recipe) -> keras.Model:
    """One flat network [N, size, size, 3] -> shares of the classes [N, classes], so that any layer can be cut at."""
    values = layers.GlobalAveragePooling2D(name="pooled")(backbone.output)
    for layer in _head_layers(num_classes, recipe):
        values = layer(values)
    return keras.Model(backbone.inputs[0], values, name=f"{backbone.name}_classifier")


def _head_layers(num_classes: int, recipe: Recipe) -> list[keras.Layer]:
    return [
        layers.Dropout(recipe.dropout, name="dropout"),
        layers.Dense(recipe.num_features, activation="relu", name=FEATURES),
        layers.Dropout(recipe.dropout, name="dropout_features"),
        layers.Dense(num_classes, activation="softmax", name="classes"),
    ]


def _train_head(
    network: keras.Model, pictures: Pictures, parts: Parts, original: Original, recipe: Recipe, verbose: int
) -> tuple[keras.Model, dict[str, list[float]], tuple[float, float] | None, int]:
    """The head alone, on what the network below gives for each picture and, where asked, its mirror image."""
    below = keras.Model(network.inputs[0], network.get_layer("pooled").output)
    train = predict(below, pictures.images, parts.train, original.preprocess)  # [T, D]
    labels = pictures.labels[parts.train]
    if recipe.augment:
        mirrored = predict(below, pictures.images[:, :, ::-1], parts.train, original.preprocess)
        train, labels = np.concatenate([train, mirrored]), np.tile(labels, 2)
    check = predict(below, pictures.images, parts.validation, original.preprocess)

    head = keras.Sequential(
        [layers.Input(train.shape[1:]), *_head_layers(network.output_shape[-1], recipe)], name="head"
    )
    compile_classifier(head, recipe.learning_rate)
    keep = KeepBest("val_accuracy", patience=recipe.patience)
    history = head.fit(
        train, labels, batch_size=recipe.batch, epochs=recipe.head_epochs, verbose=verbose, callbacks=[keep],
        validation_data=(check, pictures.labels[parts.validation]),
    )  # fmt: skip
    return head, history.history, keep.best, keep.best_epoch


def thaw(network: keras.Model, *, first: int, end: int) -> None:
    """Let layers `first` to `end` learn, but for batch normalisation, which not trainable keeps its statistics too."""
    for number, layer in enumerate(network.layers[:end]):
        layer.trainable = number >= first and not isinstance(layer, layers.BatchNormalization)


def _fine_tune(
    network: keras.Model,
    pictures: Pictures,
    parts: Parts,
    original: Original,
    recipe: Recipe,
    keep: KeepBest,
    verbose: int,
) -> dict[str, list[float]]:
    num_steps = -(-len(parts.train) // recipe.batch)
    rate = keras.optimizers.schedules.CosineDecay(recipe.fine_tune_rate, num_steps * recipe.epochs)
    return fit(network, pictures, parts, original.preprocess, recipe, keep, rate=rate, verbose=verbose)


# ------------------------------------------------------------------------------------------------------------------
# What every classifier shares

Rate = float | keras.optimizers.schedules.LearningRateSchedule


def compile_classifier(network: keras.Model, rate: Rate) -> None:
    """Adam and cross-entropy of the class."""
    network.compile(
        keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )


def fit(
    network: keras.Model,
    pictures: Pictures,
    parts: Parts,
    preprocess: Preprocess,
    recipe: Recipe,
    keep: KeepBest,
    *,
    rate: Rate,
    verbose: int,
) -> dict[str, list[float]]:
    """Train the whole network on pictures, `recipe.epochs` at most, and return its curves."""
    compile_classifier(network, rate)
    train = Batches(
        pictures.images, parts.train, preprocess, labels=pictures.labels, batch=recipe.batch, augment=recipe.augment,
        shuffle=True, seed=recipe.seed,
    )  # fmt: skip
    check = Batches(pictures.images, parts.validation, preprocess, labels=pictures.labels, batch=recipe.batch)
    history = network.fit(train, epochs=recipe.epochs, validation_data=check, verbose=verbose, callbacks=[keep])
    return dict(history.history)


def accuracies(network: keras.Model, pictures: Pictures, parts: Parts, preprocess: Preprocess) -> dict[str, float]:
    """On the parts that it was not trained on."""
    return {
        f"{name} accuracy": accuracy(network, pictures, rows, preprocess)
        for name, rows in (("validation", parts.validation), ("test", parts.test))
        if len(rows)
    }


def accuracy(network: keras.Model, pictures: Pictures, rows: Rows, preprocess: Preprocess) -> float:
    """Share of `rows` whose class is the one that the network gives the largest share."""
    shares = predict(network, pictures.images, rows, preprocess)  # [R, classes]
    return float((shares.argmax(axis=1) == pictures.labels[rows]).mean())
