"""How the small networks are trained: a recipe takes images and labels and returns the trained network and its curves.

In: uint8 images [N, 28, 28] and labels [N] of Fashion-MNIST, of which some may be held out for the curve alone.
Out: a network with float32 weights, and the loss of each epoch. The same seed gives the same draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.autoencoder import network as autoencoder_network
from models.contrastive import ContrastiveTrainer
from models.curves import Curves
from models.losses import triplet
from models.siamese import network as siamese_network


@dataclass(frozen=True, slots=True)
class Trained:
    """A network as the shipped weights need it, and how its losses went."""

    network: keras.Model
    curves: Curves


def train_autoencoder(
    images: NDArray[np.uint8], *, epochs: int = 20, seed: int = 0, held_out: int = 5000, verbose: int = 2
) -> Trained:
    """The published recipe: Adam, binary cross-entropy against the input itself, batches of 128."""
    keras.utils.set_random_seed(seed)
    pixels = images[..., None].astype(np.float32) / 255.0  # [N, 28, 28, 1]
    network = autoencoder_network()
    network.compile("adam", "binary_crossentropy", jit_compile=False)
    fit, check = pixels[:-held_out], pixels[-held_out:]
    history = network.fit(fit, fit, batch_size=128, epochs=epochs, validation_data=(check, check), verbose=verbose)
    return Trained(network, history.history)


def train_triplets(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    *,
    epochs: int = 15,
    seed: int = 0,
    num_triplets: int = 20_000,
    held_out: int = 5000,
    verbose: int = 2,
) -> Trained:
    """The published recipe: fixed triplets, margin 0.2, Adam 1e-3, batches of 64; `held_out` triplets for the curve."""
    keras.utils.set_random_seed(seed)
    pixels = images[..., None].astype(np.float32) / 255.0  # [N, 28, 28, 1]
    triplets = pixels[draw_triplets(labels, num_triplets + held_out, seed=seed)]  # [T, 3, 28, 28, 1]
    network = siamese_network()
    inputs = keras.Input((3, 28, 28, 1))
    stacked = keras.ops.stack([network(inputs[:, i]) for i in range(3)], axis=1)  # [N, 3, 64]
    trainer = keras.Model(inputs, stacked)

    def loss(_: tf.Tensor, embeddings: tf.Tensor) -> tf.Tensor:
        return triplet(embeddings[:, 0], embeddings[:, 1], embeddings[:, 2], margin=0.2)

    trainer.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False)
    fit, check = triplets[:num_triplets], triplets[num_triplets:]
    nothing = np.zeros(len(triplets), np.float32)  # Keras wants targets; the loss is one of embeddings alone
    history = trainer.fit(
        fit,
        nothing[: len(fit)],
        batch_size=64,
        epochs=epochs,
        validation_data=(check, nothing[: len(check)]),
        verbose=verbose,
    )
    return Trained(network, history.history)


def draw_triplets(labels: NDArray[np.uint8], number: int, *, seed: int) -> NDArray[np.int64]:
    """[number, 3] rows of anchor, positive (another image of its class) and negative (of another class)."""
    generator = np.random.default_rng(seed)
    classes = np.unique(labels)
    rows = {label: np.flatnonzero(labels == label) for label in classes}
    triplets = np.empty((number, 3), np.int64)
    for i in range(number):
        label, other = generator.choice(classes, 2, replace=False)
        triplets[i, :2] = generator.choice(rows[label], 2, replace=False)
        triplets[i, 2] = generator.choice(rows[other])
    return triplets


def train_contrastive(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    *,
    epochs: int = 20,
    seed: int = 0,
    precision: str = "bfloat16",
    verbose: int = 2,
) -> Trained:
    """Proxies and a supervised contrastive loss on flipped and shifted images, batches of 500, AdamW.

    One epoch of warm-up to 2e-3, then half a cosine down to zero. Activations are computed in `precision`, weights are
    float32 either way; bfloat16 is more than twice as fast where the processor has instructions for it.
    """
    keras.utils.set_random_seed(seed)
    batch, num_steps = 500, -(-len(images) // 500)  # per epoch; 500 divides 60,000
    with _activations_in(precision):
        network = siamese_network()
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, num_steps * (epochs - 1)), warmup_target=2e-3, warmup_steps=num_steps
    )
    trainer = ContrastiveTrainer(network, num_classes=int(labels.max()) + 1)
    trainer.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-4), jit_compile=False)
    pixels = images[..., None].astype(np.float32) / 255.0  # [N, 28, 28, 1]
    history = trainer.fit(pixels, labels.astype(np.int32), batch_size=batch, epochs=epochs, verbose=verbose)
    trained = siamese_network()  # again, for a network that computes in float32
    trained.set_weights(network.get_weights())
    return Trained(trained, history.history)


@contextmanager
def _activations_in(precision: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
