"""The Siamese network's own training: flipped and shifted images, drawn to their class and away from the others.

In: float32 images [N, 28, 28, 1] in [0, 1] with labels [N]. Out: gradients on the network inside; the proxies, one
learned direction per class, serve the training alone and are thrown away with the trainer.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.losses import proxy_softmax, supervised_contrastive


class ContrastiveTrainer(keras.Model):
    """Trains `network` by a proxy per class plus a share of the supervised contrastive loss.

    The proxies separate the classes early; the contrastive term keeps each image close to its fellows, which is what
    neighbours are counted by.
    """

    def __init__(self, network: keras.Model, *, num_classes: int, contrastive_share: float = 0.3) -> None:
        super().__init__(name="contrastive_trainer")
        self.network = network
        self.contrastive_share = contrastive_share
        shape = (num_classes, network.output_shape[-1])
        self.proxies = self.add_weight(shape=shape, initializer="random_normal", name="proxies")  # [classes, D]

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """float32 [N, 28, 28, 1] -> float32 [N, D], of images moved at random while training."""
        return tf.cast(self.network(move_at_random(images) if training else images, training=training), tf.float32)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> tf.Tensor:
        """Keras calls this with images, labels and embeddings of one batch."""
        contrastive = supervised_contrastive(y_pred, y, temperature=0.1)
        return proxy_softmax(y_pred, y, self.proxies, smoothing=0.1) + self.contrastive_share * contrastive


def move_at_random(images: tf.Tensor, *, shift: int = 1) -> tf.Tensor:
    """[N, H, W, C]: every second image mirrored by chance, each moved by up to `shift` pixels, black coming in."""
    number, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    is_mirrored = tf.random.uniform([number, 1, 1, 1]) < 0.5
    images = tf.where(is_mirrored, images[:, :, ::-1], images)
    padded = tf.pad(images, [[0, 0], [shift, shift], [shift, shift], [0, 0]])
    down, right = tf.unstack(tf.random.uniform([2, number, 1], 0, 2 * shift + 1, tf.int32))  # [N, 1] each
    rows = tf.gather(padded, down + tf.range(height), axis=1, batch_dims=1)
    columns = tf.gather(tf.transpose(rows, [0, 2, 1, 3]), right + tf.range(width), axis=1, batch_dims=1)
    return tf.transpose(columns, [0, 2, 1, 3])
