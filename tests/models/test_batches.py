"""Batches hold every picture once, in an order and with moves that only the seed and the epoch decide."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from models.batches import Batches, move, predict
from models.preprocess import none

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 6, 3), np.uint8)
ROWS = np.arange(3, 17)
LABELS = np.arange(20)


def test_an_epoch_has_every_row_once_in_a_new_order() -> None:
    batches = Batches(IMAGES, ROWS, none, labels=LABELS, batch=4, shuffle=True, seed=1)
    orders = []
    for _ in range(2):
        orders.append(np.concatenate([batches[i][1] for i in range(len(batches))]).tolist())
        batches.on_epoch_end()
    assert [sorted(order) for order in orders] == [ROWS.tolist()] * 2
    assert orders[0] != orders[1]
    again = Batches(IMAGES, ROWS, none, labels=LABELS, batch=4, shuffle=True, seed=1)
    assert np.concatenate([again[i][1] for i in range(len(again))]).tolist() == orders[0]


def test_pictures_rest_where_nothing_is_asked() -> None:
    batches = Batches(IMAGES, ROWS, none, batch=5)
    assert [len(batches[i][0]) for i in range(len(batches))] == [5, 5, 4]
    np.testing.assert_array_equal(np.concatenate([batches[i][0] for i in range(3)]), IMAGES[ROWS])


def test_a_moved_picture_is_a_part_of_itself_or_of_its_mirror_image() -> None:
    ramp = np.linspace(0, 255, 64)[None, None, :, None].repeat(48, 1).repeat(200, 0).repeat(3, 3).astype(np.uint8)
    moved = move(ramp, np.random.default_rng(0)).astype(int)
    rises = moved[:, 0, -1, 0] - moved[:, 0, 0, 0]  # along a row: at least three quarters of the ramp
    assert (np.abs(rises) >= 0.7 * 255).all()
    assert 60 < (rises < 0).sum() < 140
    assert np.abs(np.diff(moved, axis=1)).max() == 0, "rows of a picture that is alike in all rows stay so"
    np.testing.assert_array_equal(move(ramp, np.random.default_rng(0)), moved)
    assert move(ramp[:0], np.random.default_rng(0)).shape == (0, 48, 64, 3)


def test_predictions_do_not_depend_on_the_batch() -> None:
    network = keras.Sequential([keras.layers.Input((8, 6, 3)), keras.layers.Flatten(), keras.layers.Dropout(0.5)])
    got = predict(network, IMAGES, ROWS, none, batch=5)
    np.testing.assert_array_equal(got, IMAGES[ROWS].reshape(14, -1).astype(np.float32))
    assert isinstance(got, np.ndarray)
    assert not tf.is_tensor(got)
