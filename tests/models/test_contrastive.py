"""The trainer moves images by whole pixels only, trains its network, and leaves it usable alone."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from models.contrastive import ContrastiveTrainer, move_at_random


def test_every_moved_image_is_a_mirrored_or_shifted_one() -> None:
    images = np.random.default_rng(0).random((200, 6, 6, 2), np.float32)
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    mirrored = np.pad(images[:, :, ::-1], [(0, 0), (1, 1), (1, 1), (0, 0)])
    keras.utils.set_random_seed(0)
    seen = set()
    for i, moved in enumerate(move_at_random(tf.constant(images)).numpy()):
        ways = [
            (side, down, right)
            for side, source in enumerate((padded, mirrored))
            for down in range(3)
            for right in range(3)
            if np.array_equal(moved, source[i, down : down + 6, right : right + 6])
        ]
        assert len(ways) == 1
        seen.update(ways)
    assert len(seen) == 18, "each of two sides, three rows and three columns occurs among 200"


def test_no_images_stay_none() -> None:
    assert move_at_random(tf.zeros([0, 28, 28, 1])).shape == (0, 28, 28, 1)


def test_images_rest_outside_training() -> None:
    network = keras.Sequential([keras.layers.Input((6, 6, 1)), keras.layers.Flatten()])
    images = np.random.default_rng(0).random((3, 6, 6, 1), np.float32)
    trainer = ContrastiveTrainer(network, num_classes=2)
    np.testing.assert_array_equal(trainer(images), images.reshape(3, 36))
    assert len(trainer.trainable_variables) == 1, "the proxies are all there is to learn"
