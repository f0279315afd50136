"""What the Siamese networks are trained by, as pure functions of embeddings and labels.

In: float32 embeddings [N, D] of a batch and their classes. Out: one float32 number to be made small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def triplet(anchors: tf.Tensor, positives: tf.Tensor, negatives: tf.Tensor, *, margin: float = 0.2) -> tf.Tensor:
    """Mean of max(|a - p|^2 - |a - n|^2 + margin, 0) over N triplets of [N, D] float32 embeddings.

    Schroff, Kalenichenko, Philbin 2015, "FaceNet", eq. 3; embeddings are taken as they are, not normalised.
    """
    import tensorflow as tf

    to_positive = tf.reduce_sum(tf.square(anchors - positives), axis=1)  # [N]
    to_negative = tf.reduce_sum(tf.square(anchors - negatives), axis=1)  # [N]
    return tf.reduce_mean(tf.maximum(to_positive - to_negative + margin, 0.0))


def pair_contrastive(left: tf.Tensor, right: tf.Tensor, is_same: tf.Tensor, *, margin: float = 1.0) -> tf.Tensor:
    """Mean of |l - r|^2 / 2 for pairs of one class and max(margin - |l - r|, 0)^2 / 2 for others: [N, D], [N, D], [N].

    Hadsell, Chopra, LeCun 2006, "Dimensionality Reduction by Learning an Invariant Mapping", eq. 4 (whose Y is 0 for
    pairs that are alike); `is_same` is bool. Embeddings are taken as they are, the distance is Euclidean.
    """
    import tensorflow as tf

    squared = tf.reduce_sum(tf.square(left - right), axis=1)  # [N]
    # The root has no slope at 0: equal embeddings of two classes would get no finite gradient
    distance = tf.sqrt(tf.maximum(squared, 1e-12))
    apart = tf.square(tf.maximum(margin - distance, 0.0))
    return tf.reduce_mean(tf.where(is_same, squared, apart)) / 2.0


def supervised_contrastive(embeddings: tf.Tensor, labels: tf.Tensor, *, temperature: float = 0.1) -> tf.Tensor:
    """Each image's own class against all others of the batch: [N, D] float32 embeddings, [N] integer labels.

    Embeddings are L2-normalised here. An image that is alone with its class in the batch does not count; 0 where all
    are. Khosla et al. 2020, "Supervised Contrastive Learning", eq. 2 (L_out), averaged over the anchors.
    """
    import tensorflow as tf

    units = tf.math.l2_normalize(embeddings, axis=1)
    others = 1.0 - tf.eye(tf.shape(units)[0])  # [N, N]: not the image itself
    logits = tf.matmul(units, units, transpose_b=True) / temperature - 1e9 * (1.0 - others)  # [N, N]
    log_share = logits - tf.reduce_logsumexp(logits, axis=1, keepdims=True)  # [N, N]
    same = tf.cast(labels[:, None] == labels[None, :], tf.float32) * others  # [N, N]
    num_same = tf.reduce_sum(same, axis=1)  # [N]
    per_anchor = -tf.math.divide_no_nan(tf.reduce_sum(same * log_share, axis=1), num_same)  # [N]
    return tf.math.divide_no_nan(tf.reduce_sum(per_anchor), tf.reduce_sum(tf.cast(num_same > 0, tf.float32)))


def proxy_softmax(
    embeddings: tf.Tensor, labels: tf.Tensor, proxies: tf.Tensor, *, temperature: float = 0.1, smoothing: float = 0.0
) -> tf.Tensor:
    """Cross-entropy of each embedding's cosine to one learned proxy per class: [N, D], [N] integers, [classes, D].

    Zhai and Wu 2018, "Classification is a Strong Baseline for Deep Metric Learning", eq. 3 (normalised softmax);
    `smoothing` spreads that share of each target over all classes (Szegedy et al. 2015, section 7).
    """
    import tensorflow as tf

    units = tf.math.l2_normalize(embeddings, axis=1)
    logits = tf.matmul(units, tf.math.l2_normalize(proxies, axis=1), transpose_b=True) / temperature  # [N, classes]
    num_classes = proxies.shape[0]
    targets = tf.one_hot(labels, num_classes) * (1.0 - smoothing) + smoothing / num_classes  # [N, classes]
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits))
