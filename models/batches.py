"""Batches of pictures as a network eats them, made while it trains: shuffled, moved at random, preprocessed.

In: uint8 pictures, rows of them, and a recipe. Out: what `fit` and `predict` take. Every draw depends on the seed, the
epoch and the batch alone, so that the same seed trains on the same batches.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.pictures import Images, Labels, Rows

Preprocess = Callable[[tf.Tensor], tf.Tensor]
_LEAST_SIDE = 0.75  # of a picture's side that a random crop keeps


class Batches(keras.utils.PyDataset):
    """`images[rows]` in batches, with labels where they are given."""

    def __init__(
        self,
        images: Images,
        rows: Rows,
        preprocess: Preprocess,
        *,
        labels: Labels | None = None,
        batch: int = 32,
        augment: bool = False,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._images, self._rows, self._labels = images, rows, labels
        self._preprocess, self._batch, self._augment = preprocess, batch, augment
        self._shuffle, self._seed, self._epoch = shuffle, seed, 0
        self._order = self._draw_order()

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch)

    def __getitem__(self, index: int) -> tuple[tf.Tensor, ...]:
        rows = self._order[index * self._batch : (index + 1) * self._batch]
        images = self._images[rows]
        if self._augment:
            images = move(images, np.random.default_rng([self._seed, self._epoch, index]))
        inputs = self._preprocess(tf.constant(images))
        return (inputs,) if self._labels is None else (inputs, tf.constant(self._labels[rows]))

    def on_epoch_end(self) -> None:
        """Keras calls this after each epoch."""
        self._epoch += 1
        self._order = self._draw_order()

    def _draw_order(self) -> Rows:
        if not self._shuffle:
            return self._rows
        return np.random.default_rng([self._seed, self._epoch]).permutation(self._rows)


def move(images: Images, generator: np.random.Generator) -> Images:
    """[N, H, W, C]: each mirrored by chance, and of each a part cut out at random and brought to its size again."""
    number, height, width = images.shape[:3]
    if number == 0:
        return images
    side = generator.uniform(_LEAST_SIDE, 1, number)  # [N]
    top, left = generator.uniform(0, 1 - side), generator.uniform(0, 1 - side)  # [N] each
    right = left + side
    is_mirrored = generator.random(number) < 0.5
    left, right = np.where(is_mirrored, right, left), np.where(is_mirrored, left, right)
    boxes = np.stack([top, left, top + side, right], axis=1).astype(np.float32)
    moved = tf.image.crop_and_resize(images, boxes, np.arange(number), (height, width))  # float32, 0 to 255
    return tf.cast(tf.round(tf.clip_by_value(moved, 0, 255)), tf.uint8).numpy()


def predict(
    network: keras.Model, images: Images, rows: Rows, preprocess: Preprocess, *, batch: int = 64
) -> NDArray[np.float32]:
    """What the network gives for `images[rows]`, in inference mode: [N, D] float32."""
    spec = tf.TensorSpec([None, *images.shape[1:]], tf.uint8)
    call = tf.function(lambda inputs: network(preprocess(inputs), training=False), input_signature=[spec])
    starts = range(0, len(rows), batch)
    return np.concatenate([call(tf.constant(images[rows[start : start + batch]])).numpy() for start in starts])
