"""Each loss against the formula of its source, written as plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from models.losses import pair_contrastive, proxy_softmax, supervised_contrastive, triplet


def _embeddings(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _contrastive_by_hand(embeddings: NDArray[np.float32], labels: list[int], temperature: float) -> float:
    units = [row / np.linalg.norm(row) for row in embeddings.astype(np.float64)]
    per_anchor = []
    for i, label in enumerate(labels):
        others = [j for j in range(len(labels)) if j != i]
        same = [j for j in others if labels[j] == label]
        if not same:
            continue
        total = sum(math.exp(units[i] @ units[j] / temperature) for j in others)
        terms = [math.log(math.exp(units[i] @ units[j] / temperature) / total) for j in same]
        per_anchor.append(-sum(terms) / len(same))
    return sum(per_anchor) / len(per_anchor) if per_anchor else 0.0


@pytest.mark.parametrize(
    "labels",
    [[0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 2, 3, 4, 5], [3] * 7, [0, 1, 2, 3, 4, 5, 6], [4]],
    ids=["pairs", "mostly alone", "one class", "all alone", "one image"],
)
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_supervised_contrastive_is_the_sum_by_hand(labels: list[int], temperature: float) -> None:
    embeddings = _embeddings(len(labels), 5)
    got = supervised_contrastive(tf.constant(embeddings), tf.constant(labels), temperature=temperature)
    assert float(got) == pytest.approx(_contrastive_by_hand(embeddings, labels, temperature), rel=1e-4, abs=1e-6)


def test_supervised_contrastive_of_equal_embeddings() -> None:
    got = supervised_contrastive(tf.ones([5, 3]), tf.constant([0, 0, 0, 1, 1]))
    assert float(got) == pytest.approx(math.log(4))  # each of the four others is as likely


def test_triplet_is_the_mean_by_hand() -> None:
    anchors, positives, negatives = _embeddings(3, 20, 4)
    terms = [
        max(sum((a - p) ** 2) - sum((a - n) ** 2) + 0.2, 0.0)
        for a, p, n in zip(anchors, positives, negatives, strict=True)
    ]
    assert min(terms) == 0.0 < max(terms), "both sides of the hinge must be met"
    assert float(triplet(anchors, positives, negatives)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_triplet_of_equal_images_is_the_margin() -> None:
    same = tf.ones([4, 3])
    assert float(triplet(same, same, same, margin=0.3)) == pytest.approx(0.3)


def test_pair_contrastive_is_the_mean_by_hand() -> None:
    left, right = _embeddings(20, 3), _embeddings(20, 3, seed=1)
    right[2:12] = left[2:12] + 0.4 * right[2:12]  # some within the margin
    is_same = np.arange(20) % 2 == 0
    terms = []
    for a, b, same in zip(left, right, is_same, strict=True):
        distance = math.sqrt(sum((a - b) ** 2))
        terms.append(distance**2 / 2 if same else max(1.5 - distance, 0.0) ** 2 / 2)
    others = np.array(terms)[~is_same]
    assert others.min() == 0.0 < others.max(), "both sides of the margin must be met"
    assert float(pair_contrastive(left, right, is_same, margin=1.5)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_pairs_of_equal_embeddings_cost_the_margin_or_nothing_and_have_a_gradient() -> None:
    same = tf.Variable(tf.ones([4, 3]))
    with tf.GradientTape() as tape:
        loss = pair_contrastive(same, tf.ones([4, 3]), tf.constant([False] * 4), margin=2.0)
    assert float(loss) == pytest.approx(2.0, rel=1e-5)
    assert np.isfinite(tape.gradient(loss, same)).all()
    assert float(pair_contrastive(same, tf.ones([4, 3]), tf.constant([True] * 4))) == 0.0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_proxy_softmax_is_the_mean_by_hand(smoothing: float) -> None:
    embeddings, proxies, labels = _embeddings(6, 5), _embeddings(3, 5, seed=1), [0, 1, 2, 2, 0, 1]
    terms = []
    for row, label in zip(embeddings, labels, strict=True):
        cosines = [row @ proxy / np.linalg.norm(row) / np.linalg.norm(proxy) / 0.1 for proxy in proxies]
        logs = [cosine - math.log(sum(map(math.exp, cosines))) for cosine in cosines]
        targets = [(1 - smoothing) * (label == k) + smoothing / 3 for k in range(3)]
        terms.append(-sum(target * log for target, log in zip(targets, logs, strict=True)))
    got = proxy_softmax(embeddings, tf.constant(labels), tf.constant(proxies), smoothing=smoothing)
    assert float(got) == pytest.approx(np.mean(terms), rel=1e-4)


def test_losses_have_finite_gradients() -> None:
    embeddings = tf.Variable(_embeddings(8, 4))
    labels = tf.constant([0, 0, 1, 1, 2, 3, 3, 3])
    with tf.GradientTape() as tape:
        loss = supervised_contrastive(embeddings, labels) + proxy_softmax(embeddings, labels, _embeddings(4, 4, seed=2))
    gradient = tape.gradient(loss, embeddings).numpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
