"""A Siamese network taught by pairs: pictures of one class come close together, others at least a margin apart.

In: pictures, their parts, and a base: the baseline's convolutions, the Siamese base of Fashion-MNIST, or a pretrained
network, which does not move and gives its features once. Out: a network from a picture to an embedding that is
compared by Euclidean distance. Each epoch draws new pairs, half of them of one class, so that the many pairs of
different classes do not drown the few others.

Hadsell, Chopra, LeCun 2006, "Dimensionality Reduction by Learning an Invariant Mapping".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from models import cnn, siamese
from models.base import Original
from models.batches import Preprocess, move, predict
from models.curves import Curves
from models.keep_best import KeepBest, joined
from models.losses import pair_contrastive
from models.pictures import Images, Labels, Parts, Pictures, Rows
from models.preprocess import rescale_255
from semblance.errors import InputError

PREPROCESS = "rescale-255"  # of the bases that start from nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRecipe:
    """How a network is trained on pairs. Raises InputError for what makes no sense."""

    epochs: int = 20  # at most
    num_pairs: int | None = None  # of an epoch; None: twice as many as pictures to train on
    batch: int = 64  # pairs
    margin: float = 1.0
    learning_rate: float = 1e-3
    num_features: int = 64
    dropout: float = 0.0  # of the cnn base; through two masks even one picture is not like itself
    augment: bool = True
    patience: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.margin > 0:
            raise InputError(f"the margin must be above 0, is {self.margin:g}; usual is 1")
        if not self.learning_rate > 0:
            raise InputError(f"the learning rate must be above 0, is {self.learning_rate:g}; usual is 1e-3")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must lie in 0..1, 1 left out, is {self.dropout:g}")
        for name in ("epochs", "batch", "num_features", "patience"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, is {getattr(self, name)}")
        if self.num_pairs is not None and self.num_pairs < 2:
            raise InputError(f"num_pairs must be at least 2, one of each kind, is {self.num_pairs}")


@dataclass(frozen=True, slots=True)
class TrainedPairs:
    """An embedding network with its best weights, by validation loss."""

    network: keras.Model
    layer: str  # its last one
    curves: Curves
    best_epoch: int  # counted from 1
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows [P, 2], and whether both are of one class [P]."""

    rows: NDArray[np.int64]
    is_same: NDArray[np.bool_]


def draw_pairs(labels: Labels, number: int, generator: np.random.Generator) -> Pairs:
    """`number` pairs of rows of `labels` [N], every second one of one class: never a row with itself.

    Raises InputError where there is no pair of one of the two kinds.
    """
    order = np.argsort(labels, kind="stable")  # classes lie together
    classes, start, count = np.unique(labels[order], return_index=True, return_counts=True)
    if len(classes) < 2 or count.max(initial=0) < 2:
        raise InputError(
            f"{len(labels)} pictures of {len(classes)} classes have no pair of one class or none of two; give at least "
            "two classes, one of them with two pictures"
        )
    num_same = number // 2
    group = np.repeat(np.arange(len(classes)), count)  # [N] of each place in `order`
    with_fellows = np.flatnonzero(count[group] > 1)

    left_same = with_fellows[generator.integers(len(with_fellows), size=num_same)]
    size = count[group[left_same]]
    step = 1 + generator.integers(size - 1)  # round the class, never back to itself
    right_same = start[group[left_same]] + (left_same - start[group[left_same]] + step) % size

    left_other = generator.integers(len(labels), size=number - num_same)
    size = count[group[left_other]]
    right_other = generator.integers(len(labels) - size)  # among those of other classes: its own are jumped over
    right_other += np.where(right_other >= start[group[left_other]], size, 0)

    rows = np.empty((number, 2), np.int64)
    rows[1::2] = order[np.stack([left_same, right_same], axis=1)]
    rows[0::2] = order[np.stack([left_other, right_other], axis=1)]
    return Pairs(rows, np.arange(number) % 2 == 1)


class PairBatches(keras.utils.PyDataset):
    """Pairs of `values[rows]` in batches ([B, 2, ...] as the network eats them, [B] bool), drawn anew each epoch."""

    def __init__(
        self,
        values: Images | NDArray[np.float32],
        labels: Labels,
        rows: Rows,
        recipe: PairRecipe,
        *,
        preprocess: Preprocess | None,
        number: int,
        is_fixed: bool = False,
    ) -> None:
        super().__init__()
        self._values, self._labels, self._rows, self._recipe = values, labels[rows], rows, recipe
        self._preprocess, self._number, self._is_fixed, self._epoch = preprocess, number, is_fixed, 0
        self._pairs = self._draw()

    def __len__(self) -> int:
        return -(-self._number // self._recipe.batch)

    def __getitem__(self, index: int) -> tuple[tf.Tensor, tf.Tensor]:
        part = slice(index * self._recipe.batch, (index + 1) * self._recipe.batch)
        values = self._values[self._rows[self._pairs.rows[part].ravel()]]  # [2 B, ...]
        if self._preprocess is not None:
            if self._recipe.augment and not self._is_fixed:
                values = move(values, np.random.default_rng([self._recipe.seed, self._epoch, index]))
            values = self._preprocess(tf.constant(values))
        return tf.reshape(values, (-1, 2, *values.shape[1:])), tf.constant(self._pairs.is_same[part])

    def on_epoch_end(self) -> None:
        """Keras calls this after each epoch."""
        self._epoch += 1
        if not self._is_fixed:
            self._pairs = self._draw()

    def _draw(self) -> Pairs:
        return draw_pairs(self._labels, self._number, np.random.default_rng([self._recipe.seed, self._epoch]))


# ------------------------------------------------------------------------------------------------------------------
# Bases


def small_base(name: str, pictures: Pictures, recipe: PairRecipe) -> keras.Model:
    """A base that starts from nothing: `cnn` for any size, `siamese` for 28 x 28 grey ones."""
    keras.utils.set_random_seed(recipe.seed)
    _, size, _, channels = pictures.images.shape
    if name == "siamese":
        if (size, channels) != (28, 1):
            raise InputError(f"the siamese base takes 28x28 grey pictures, not {size}x{size} of {channels} channels")
        return siamese.network()
    hidden = [layers.Dense(128, activation="relu", name="hidden"), layers.Dropout(recipe.dropout, name="dropout")]
    return keras.Sequential([*cnn.trunk(size, channels), *hidden, _features(recipe)], name="cnn_pairs")


def _features(recipe: PairRecipe) -> keras.Layer:
    return layers.Dense(recipe.num_features, name="features")  # of any sign: distances need no floor


# ------------------------------------------------------------------------------------------------------------------
# Training


def train_small(
    pictures: Pictures, parts: Parts, network: keras.Model, recipe: PairRecipe, *, verbose: int = 2
) -> TrainedPairs:
    """All of `network` learns, from pixels."""
    return _train(network, network, pictures.images, pictures.labels, parts, recipe, rescale_255, verbose)


def train_on_backbone(
    pictures: Pictures, parts: Parts, original: Original, backbone: keras.Model, recipe: PairRecipe, *, verbose: int = 2
) -> TrainedPairs:
    """One linear layer learns, on the average-pooled features of `backbone`, the filled network of `original`.

    Features that tell so much already lose by more than that: a hidden layer fits the pairs, and forgets the rest.
    """
    keras.utils.set_random_seed(recipe.seed)
    backbone.trainable = False
    pooled = layers.GlobalAveragePooling2D(name="pooled")(backbone.output)
    below = keras.Model(backbone.inputs[0], pooled)
    network = keras.Model(backbone.inputs[0], _features(recipe)(pooled), name=f"{backbone.name}_pairs")
    features = predict(below, pictures.images, np.arange(len(pictures.images)), original.preprocess)  # [N, D]
    head = keras.Sequential([layers.Input(features.shape[1:]), _features(recipe)], name="head")
    trained = _train(head, network, features, pictures.labels, parts, recipe, None, verbose)
    network.get_layer("features").set_weights(head.get_layer("features").get_weights())
    return trained


def _train(
    learner: keras.Model,
    network: keras.Model,
    values: Images | NDArray[np.float32],
    labels: Labels,
    parts: Parts,
    recipe: PairRecipe,
    preprocess: Preprocess | None,
    verbose: int,
) -> TrainedPairs:
    """Train `learner` on pairs of `values`; it is `network`, or the end of it."""
    keras.utils.set_random_seed(recipe.seed)
    trainer = _twins(learner)
    trainer.compile(
        keras.optimizers.Adam(recipe.learning_rate),
        lambda is_same, both: pair_contrastive(both[:, 0], both[:, 1], _as_bool(is_same), margin=recipe.margin),
        metrics=[_Agreement(recipe.margin / 2)],
        jit_compile=False,
    )

    def pairs_of(rows: Rows, **options: Any) -> PairBatches:
        return PairBatches(values, labels, rows, recipe, preprocess=preprocess, **options)

    number = recipe.num_pairs or 2 * len(parts.train)
    check = pairs_of(parts.validation, number=max(2, 4 * len(parts.validation)), is_fixed=True)
    keep = KeepBest("val_loss", higher_is_better=False, patience=recipe.patience)
    history = trainer.fit(
        pairs_of(parts.train, number=number), epochs=recipe.epochs, validation_data=check, verbose=verbose,
        callbacks=[keep],
    )  # fmt: skip
    figures = {"validation accuracy": trainer.evaluate(check, verbose=0, return_dict=True)["accuracy"]}
    if len(parts.test):
        test = pairs_of(parts.test, number=max(2, 4 * len(parts.test)), is_fixed=True)
        figures["test accuracy"] = trainer.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    return TrainedPairs(
        network, network.layers[-1].name, joined([history.history]), keep.best_epoch + 1,
        {name: float(value) for name, value in figures.items()},
    )  # fmt: skip


def _twins(learner: keras.Model) -> keras.Model:
    """[N, 2, ...] -> [N, 2, D]: the same network for both, in one call, so that they share a batch's statistics."""
    shape = tuple(learner.input_shape[1:])
    both = keras.Input((2, *shape))
    embeddings = learner(keras.ops.reshape(both, (-1, *shape)))
    return keras.Model(both, keras.ops.reshape(embeddings, (-1, 2, learner.output_shape[-1])), name="twins")


def _as_bool(is_same: tf.Tensor) -> tf.Tensor:
    """[N]: Keras hands targets on as floats."""
    return tf.cast(tf.reshape(is_same, [-1]), tf.bool)


class _Agreement(keras.metrics.Mean):
    """Share of pairs that a threshold on their distance judges right."""

    def __init__(self, threshold: float) -> None:
        super().__init__(name="accuracy")
        self._threshold = threshold

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None) -> None:
        """[N] bool, and embeddings [N, 2, D]."""
        distance = tf.norm(y_pred[:, 0] - y_pred[:, 1], axis=1)
        is_right = tf.equal(distance < self._threshold, _as_bool(y_true))
        super().update_state(tf.cast(is_right, tf.float32))
