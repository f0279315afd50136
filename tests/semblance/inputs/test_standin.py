"""The drawn stand-in: Fashion-MNIST's form, the same every time, and classes that can be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from semblance.errors import InputError
from semblance.inputs.standin import drawn_fashion


def test_it_has_the_form_of_the_real_split() -> None:
    images, labels = drawn_fashion("test")
    assert images.shape == (10_000, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(labels), [1000] * 10)
    assert len(np.unique(images.reshape(10_000, -1), axis=0)) == 10_000
    assert all(images[labels == label].max() > 50 for label in range(10))


@pytest.mark.parametrize("count", [0, 1, 13, 250])
def test_it_is_the_same_every_time(count: int) -> None:
    images, labels = drawn_fashion("train", num_images=count)
    again, labels_again = drawn_fashion("train", num_images=count)
    assert images.shape == (count, 28, 28)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, labels_again)


def test_the_full_size_is_the_default() -> None:
    explicit = drawn_fashion("test", num_images=10_000)
    for given, default in zip(explicit, drawn_fashion("test"), strict=True):
        np.testing.assert_array_equal(given, default)


def test_nearest_pixels_tell_the_classes_apart_and_the_splits_differ() -> None:
    gallery, gallery_labels = drawn_fashion("train", num_images=2000)
    queries, labels = drawn_fashion("test", num_images=500)
    flat, asked = gallery.reshape(2000, -1).astype(np.float32), queries.reshape(500, -1).astype(np.float32)
    distances = (flat**2).sum(1) - 2 * asked @ flat.T + (asked**2).sum(1)[:, None]  # [500, 2000]
    assert distances.min() > 1000  # no test image is a train image
    hits = gallery_labels[distances.argmin(axis=1)] == labels
    assert hits.mean() > 0.9
    assert all(hits[labels == label].mean() > 0.7 for label in range(10))


def test_other_splits_and_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="is 'valid'"):
        drawn_fashion("valid")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 0, is -1"):
        drawn_fashion("test", num_images=-1)
