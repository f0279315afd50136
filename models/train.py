"""`python -m models.train NAME`: train the shipped networks anew, or one of your own on labelled pictures.

    python -m models.train siamese
    python -m models.train autoencoder --seed 4
    python -m models.train classifier photos/ --backbone resnet50
    python -m models.train cnn photos/
    python -m models.train pairs photos/ --base mobilenet

`autoencoder` and `siamese` learn from Fashion-MNIST's 60,000 train images. In: epochs, a seed. Out: a .weights.h5 file
without optimizer state, its loss curve as PNG beside it, and what it is worth: leave-one-out precision over the 10,000
test images, which no recipe has seen. The others are in `train_pictures.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.base import Original, find
from models.curves import save_curve
from models.train_pictures import add_commands
from models.weights import SHIPPED, kept, own_path, weights_sha256
from semblance.card import Metric
from semblance.errors import SemblanceError
from semblance.gallery.exact import search_exact
from semblance.inputs.datasets import fashion_mnist
from semblance.metrics import precision_at_k, relevance

if TYPE_CHECKING:
    from models.recipes import Trained


def main(arguments: list[str] | None = None) -> int:
    """Parse, train, save, measure; 0, or 1 with one line on stderr for what the user can mend."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except SemblanceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.train", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="model", required=True, metavar="NAME")
    autoencoder = commands.add_parser("autoencoder", help="the published recipe, on Fashion-MNIST")
    siamese = commands.add_parser("siamese", help="a contrastive loss, on Fashion-MNIST")
    siamese.add_argument("--loss", choices=["contrastive", "triplet"], help="default: contrastive")
    siamese.add_argument(
        "--precision",
        choices=["bfloat16", "float32"],
        help="of the contrastive recipe's activations; default: bfloat16; float32 is faster on processors without "
        "bfloat16 instructions",
    )
    autoencoder.set_defaults(loss=None, precision=None)
    for each in (autoencoder, siamese):
        each.add_argument("--epochs", type=int, help="default: the recipe's own (20; triplet 15)")
        each.add_argument("--seed", type=int, default=0)
        each.add_argument("--out", type=Path, help="the .weights.h5 file to write (default: in models/weights/)")
        each.add_argument("--data", type=Path, help="folder of Fashion-MNIST's idx.gz files (default: SEMBLANCE_DATA)")
        each.set_defaults(run=_train)
    add_commands(commands)
    return parser


def _train(options: argparse.Namespace) -> None:
    is_triplet = options.loss == "triplet"
    if is_triplet and options.precision is not None:
        raise SemblanceError("--precision is of the contrastive recipe; --loss triplet is float32: leave it away")
    if options.data is not None:
        os.environ["SEMBLANCE_DATA"] = str(options.data)
    original = find("siamese-published" if is_triplet else options.model)
    out = options.out or SHIPPED / f"{original.name}.weights.h5"
    if not out.name.endswith(".weights.h5"):
        raise SemblanceError(f"--out {out}: Keras writes weights to files that end in .weights.h5; name it so")
    images, labels = fashion_mnist("train")
    start = time.perf_counter()
    trained = _recipe(options)(images, labels)
    duration_s = time.perf_counter() - start
    out.parent.mkdir(parents=True, exist_ok=True)
    trained.network.save_weights(out)
    curve = out.with_name(out.name.removesuffix(".weights.h5") + ".loss.png")
    save_curve(trained.curves, curve, title=f"{options.model}, seed {options.seed}")
    print(f"trained in {duration_s:.0f} s; wrote {out} and {curve}")
    _report(original, trained)


def _recipe(options: argparse.Namespace) -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], Trained]:
    from models import recipes

    common = {"seed": options.seed, "verbose": 1 if sys.stdout.isatty() else 2}
    if options.epochs is not None:
        common["epochs"] = options.epochs
    if options.model == "autoencoder":
        return lambda images, _: recipes.train_autoencoder(images, **common)
    if options.loss == "triplet":
        return lambda images, labels: recipes.train_triplets(images, labels, **common)
    return lambda images, labels: recipes.train_contrastive(
        images, labels, precision=options.precision or "bfloat16", **common
    )


def _report(original: Original, trained: Trained) -> None:
    images, labels = fashion_mnist("test")
    network = kept(trained.network, original.layer)
    vectors = embed_all(original, network, images[..., None])
    relevant = leave_one_out(vectors, labels, k=5, metric=original.metric)
    print(f"weights sha256 {weights_sha256(network)}")
    print(
        f"leave-one-out over {len(images)} test images: P@1 {precision_at_k(relevant, 1).mean():.4f}, "
        f"P@5 {precision_at_k(relevant, 5).mean():.4f}"
    )


def embed_all(original: Original, network: object, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [N, H, W, C] -> float32 [N, D] on the original's own way, 1,000 at a time."""
    import tensorflow as tf

    embed = tf.function(own_path(original, network))
    return np.concatenate([embed(images[start : start + 1000]).numpy() for start in range(0, len(images), 1000)])


def leave_one_out(
    vectors: NDArray[np.float32], labels: NDArray[np.uint8], *, k: int, metric: Metric
) -> NDArray[np.bool_]:
    """[N, k]: whether each of a row's k nearest other rows, nearest first, has its label; N must exceed k."""
    rows, _ = search_exact(vectors, vectors, k=k, metric=metric, exclude=np.arange(len(vectors)))
    return relevance(labels[rows], labels)


if __name__ == "__main__":
    sys.exit(main())
