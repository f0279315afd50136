"""The baseline of the fine-tuned networks: a small convolutional network that learns the classes from nothing.

In: pictures and their parts. Out: a classifier whose layer `features` is an embedding, as that of a pretrained one.
What a pretrained network is worth is seen beside this.
"""

from __future__ import annotations

import keras
from keras import layers

from models.classifier import FEATURES, Recipe, TrainedClassifier, accuracies, fit
from models.keep_best import KeepBest, joined
from models.pictures import Parts, Pictures
from models.preprocess import rescale_255

PREPROCESS = "rescale-255"


def trunk(size: int, channels: int = 3) -> list[keras.Layer]:
    """Three convolutions with pooling, as layers in order: [N, size, size, channels] -> [N, D]; size at least 8."""
    stack: list[keras.Layer] = [layers.Input((size, size, channels))]
    for number, filters in enumerate((32, 64, 128), 1):
        stack.append(layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv_{number}"))
        stack.append(layers.MaxPooling2D(2, name=f"pool_{number}"))
    return [*stack, layers.Flatten(name="flatten")]


def network(
    size: int, num_classes: int, *, channels: int = 3, num_features: int = 128, dropout: float = 0.5
) -> keras.Model:
    """[N, size, size, channels] in 0..1 -> shares of the classes [N, classes]."""
    return keras.Sequential(
        [
            *trunk(size, channels),
            layers.Dense(num_features, activation="relu", name=FEATURES),
            layers.Dropout(dropout, name="dropout"),
            layers.Dense(num_classes, activation="softmax", name="classes"),
        ],
        name="cnn",
    )


def train_cnn(pictures: Pictures, parts: Parts, recipe: Recipe, *, verbose: int = 2) -> TrainedClassifier:
    """Adam and cross-entropy for `recipe.epochs` at most; the best epoch by validation accuracy is kept."""
    keras.utils.set_random_seed(recipe.seed)
    _, size, _, channels = pictures.images.shape
    model = network(
        size, len(pictures.classes), channels=channels, num_features=recipe.num_features, dropout=recipe.dropout
    )
    keep = KeepBest("val_accuracy", patience=recipe.patience)
    history = fit(model, pictures, parts, rescale_255, recipe, keep, rate=recipe.learning_rate, verbose=verbose)
    figures = accuracies(model, pictures, parts, rescale_255)
    return TrainedClassifier(model, joined([history]), keep.best_epoch + 1, figures)
