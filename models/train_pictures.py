"""`python -m models.train classifier|cnn|pairs DATA`: train on labelled pictures of your own.

In: a folder with a subfolder for each class, a tar, or whatever `semblance embed` reads with labels. Out: NAME.keras,
which `python -m export --keras` turns into an encoder, NAME.json with what an export and a measurement must know (the
layer, the preprocessing, the pictures held out), and the curves as NAME.png.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.backbones import find_backbone, open_backbone
from models.curves import save_curve
from models.facts import Facts, facts_path, write_facts
from models.pictures import Parts, Pictures, part, read_pictures
from semblance.errors import InputError

if TYPE_CHECKING:
    import keras

    from models.base import Original

_SMALL_SIZE = 64  # pixels, of the networks that start from nothing
_SMALL_BASES = {"cnn": 3, "siamese": 1}  # channels


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `classifier`, `cnn` and `pairs`; each has a `run`."""
    classifier = _command(commands, "classifier", train_classifier, "fine-tune a pretrained network to your classes")
    _add_weights(
        classifier, "--backbone", default="resnet50", help="a network of Keras Applications; default: resnet50"
    )
    classifier.add_argument("--head-epochs", type=int, default=30, help="at most, of the head alone; default: 30")
    classifier.add_argument("--epochs", type=int, default=10, help="at most, of the last layers as well; default: 10")
    classifier.add_argument("--fine-tune-layers", type=int, default=20, help="from the end; 0: the head alone")
    classifier.add_argument("--lr", type=float, default=1e-3, help="of the head; default: 1e-3")
    classifier.add_argument("--fine-tune-lr", type=float, help="of the last layers; default: a tenth of --lr")
    classifier.add_argument("--features", type=int, default=256, help="size of the embedding; default: 256")
    _add_common(classifier, batch=32, dropout=0.3, size="the network's own")

    cnn = _command(commands, "cnn", train_cnn, "the baseline: a small network that starts from nothing")
    cnn.add_argument("--epochs", type=int, default=30, help="at most; default: 30")
    cnn.add_argument("--lr", type=float, default=1e-3, help="default: 1e-3")
    cnn.add_argument("--features", type=int, default=128, help="size of the embedding; default: 128")
    _add_common(cnn, batch=32, dropout=0.3, size=_SMALL_SIZE)

    pairs = _command(commands, "pairs", train_pairs, "a Siamese network with contrastive loss on pairs")
    _add_weights(pairs, "--base", default="cnn", help="cnn, siamese (28x28 grey), or a network of Keras Applications, "
                 "which stays as it is below a new layer; default: cnn")  # fmt: skip
    pairs.add_argument("--margin", type=float, default=1.0, help="that other classes are to keep; default: 1")
    pairs.add_argument("--pairs", type=int, help="drawn for each epoch; default: two for each picture")
    pairs.add_argument("--epochs", type=int, default=20, help="at most; default: 20")
    pairs.add_argument("--lr", type=float, default=1e-3, help="default: 1e-3")
    pairs.add_argument("--features", type=int, default=64, help="size of the embedding; default: 64")
    _add_common(pairs, batch=64, dropout=0.0, size=f"{_SMALL_SIZE}, 28 of siamese, or the network's own")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], None],
    help_: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help_, description=help_[0].upper() + help_[1:] + ".")
    parser.add_argument("pictures", metavar="DATA", help="a folder with a subfolder for each class, a tar, ...")
    parser.set_defaults(run=run)
    return parser


def _add_weights(parser: argparse.ArgumentParser, option: str, *, default: str, help: str) -> None:
    parser.add_argument(option, default=default, help=help)
    parser.add_argument("--weights", help="imagenet (default), random, or a file of that network's")
    parser.add_argument("--alpha", type=float, help="MobileNet's width; default: 1")


def _add_common(parser: argparse.ArgumentParser, *, batch: int, dropout: float, size: object) -> None:
    parser.add_argument("--size", type=int, help=f"pixels that pictures are squeezed to; default: {size}")
    parser.add_argument("--batch", type=int, default=batch, help=f"default: {batch}")
    parser.add_argument("--dropout", type=float, default=dropout, help=f"default: {dropout:g}")
    parser.add_argument("--patience", type=int, default=5, help="epochs without a better one; default: 5")
    parser.add_argument("--validation", type=float, default=0.2, help="share to choose by; default: .2")
    parser.add_argument("--test", type=float, default=0.2, help="share held out; default: .2")
    parser.add_argument(
        "--augment", action=argparse.BooleanOptionalAction, default=True, help="mirror and cut at random"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the .keras file to write; default: NAME.keras in this folder")


# ------------------------------------------------------------------------------------------------------------------
# The three commands


def train_classifier(options: argparse.Namespace) -> None:
    """`python -m models.train classifier`."""
    from models.classifier import FEATURES, Recipe
    from models.classifier import train_classifier as train

    recipe = Recipe(
        head_epochs=options.head_epochs, epochs=options.epochs, fine_tune_layers=options.fine_tune_layers,
        batch=options.batch, learning_rate=options.lr, num_features=options.features, dropout=options.dropout,
        fine_tune_rate=options.lr / 10 if options.fine_tune_lr is None else options.fine_tune_lr,
        augment=options.augment, patience=options.patience, seed=options.seed,
    )  # fmt: skip
    original, backbone, source = _backbone(options.backbone, options)
    run = _Run.begin(options, f"{original.name}-classifier", original.height, 3)
    trained = train(run.pictures, run.parts, original, backbone, recipe, verbose=_verbose())
    run.end(
        trained.network, trained, kind="classifier", base=original.name, weights=source, layer=FEATURES,
        preprocess=original.preprocess_name, metric="cos", unit_length=True,
    )  # fmt: skip


def train_cnn(options: argparse.Namespace) -> None:
    """`python -m models.train cnn`."""
    from models import cnn
    from models.classifier import FEATURES, Recipe

    recipe = Recipe(
        epochs=options.epochs, batch=options.batch, learning_rate=options.lr, num_features=options.features,
        dropout=options.dropout, augment=options.augment, patience=options.patience, seed=options.seed,
    )  # fmt: skip
    run = _Run.begin(options, "cnn-classifier", _small_size(options.size), 3)
    trained = cnn.train_cnn(run.pictures, run.parts, recipe, verbose=_verbose())
    run.end(
        trained.network, trained, kind="cnn", base="cnn", weights=f"random, seed {options.seed}", layer=FEATURES,
        preprocess=cnn.PREPROCESS, metric="cos", unit_length=True,
    )  # fmt: skip


def train_pairs(options: argparse.Namespace) -> None:
    """`python -m models.train pairs`."""
    from models import pairs

    recipe = pairs.PairRecipe(
        epochs=options.epochs, num_pairs=options.pairs, batch=options.batch, margin=options.margin,
        learning_rate=options.lr, num_features=options.features, dropout=options.dropout, augment=options.augment,
        patience=options.patience, seed=options.seed,
    )  # fmt: skip
    if options.base in _SMALL_BASES:
        if given := [name for name in ("weights", "alpha") if getattr(options, name) is not None]:
            raise InputError(f"--{given[0]} is of a network of Keras Applications; the base {options.base} has none")
        by_default = 28 if options.base == "siamese" else None
        size = _small_size(by_default if options.size is None else options.size)
        run = _Run.begin(options, f"{options.base}-pairs", size, _SMALL_BASES[options.base])
        base = pairs.small_base(options.base, run.pictures, recipe)
        trained = pairs.train_small(run.pictures, run.parts, base, recipe, verbose=_verbose())
        name, source, preprocess = options.base, f"random, seed {options.seed}", pairs.PREPROCESS
    else:
        original, backbone, source = _backbone(options.base, options)
        run = _Run.begin(options, f"{original.name}-pairs", original.height, 3)
        trained = pairs.train_on_backbone(run.pictures, run.parts, original, backbone, recipe, verbose=_verbose())
        name, preprocess = original.name, original.preprocess_name
    run.end(
        trained.network, trained, kind="pairs", base=name, weights=source, layer=trained.layer, preprocess=preprocess,
        metric="l2sq", unit_length=False,
    )  # fmt: skip


def _backbone(name: str, options: argparse.Namespace) -> tuple[Original, keras.Model, str]:
    original = find_backbone(name, size=options.size, alpha=options.alpha)
    return original, *open_backbone(original, options.weights or "imagenet", seed=options.seed)


def _small_size(size: int | None) -> int:
    if size is not None and size < 8:
        raise InputError(f"--size must be at least 8 pixels, which pooling brings down to one, is {size}")
    return _SMALL_SIZE if size is None else size


def _verbose() -> int:
    return 1 if sys.stdout.isatty() else 2


# ------------------------------------------------------------------------------------------------------------------
# Before and after a training


class _Run:
    """What all three do around their training."""

    def __init__(self, options: argparse.Namespace, out: Path, pictures: Pictures, parts: Parts) -> None:
        self._options, self._out, self.pictures, self.parts = options, out, pictures, parts
        self._started = time.perf_counter()

    @classmethod
    def begin(cls, options: argparse.Namespace, name: str, size: int, channels: int) -> _Run:
        """Check where to write, then read and part the pictures: a mistake is told before anything is trained."""
        out = options.out or Path(f"{name}.keras")
        if out.suffix != ".keras":
            raise InputError(f"--out {out}: a whole model is saved as .keras; name it so")
        pictures = read_pictures(options.pictures, size=size, channels=channels)
        parts = part(
            pictures.labels, validation=options.validation, test=options.test, seed=options.seed,
            classes=pictures.classes,
        )  # fmt: skip
        print(
            f"{len(pictures.uris):,} pictures of {len(pictures.classes)} classes: {len(parts.train):,} to train on, "
            f"{len(parts.validation):,} to choose by, {len(parts.test):,} held out; {len(pictures.skipped)} skipped"
        )
        for uri, reason in list(pictures.skipped.items())[:5]:
            print(f"skipped {uri}: {reason}", file=sys.stderr)
        return cls(options, out, pictures, parts)

    def end(self, network: keras.Model, trained: Any, **known: Any) -> None:
        """Save the model, its facts and its curves, and say what it is worth and how it is exported."""
        duration_s = time.perf_counter() - self._started
        uris, parts = self.pictures.uris, self.parts
        named = {name: tuple(uris[row] for row in getattr(parts, name)) for name in ("train", "validation", "test")}
        facts = Facts(
            source=self.pictures.source, size=self.pictures.images.shape[1], channels=self.pictures.images.shape[3],
            classes=self.pictures.classes, seed=self._options.seed, skipped=self.pictures.skipped,
            figures=trained.figures, best_epoch=trained.best_epoch, curves=trained.curves, duration_s=duration_s,
            **named, **known,
        )  # fmt: skip
        self._out.parent.mkdir(parents=True, exist_ok=True)
        network.save(self._out)
        write_facts(facts, self._out)
        curve = self._out.with_suffix(".png")
        save_curve(trained.curves, curve, title=f"{facts.kind} on {facts.base}, seed {facts.seed}")
        figures = ", ".join(f"{name} {value:.4f}" for name, value in facts.figures.items())
        print(f"trained in {duration_s:.0f} s; best epoch {facts.best_epoch}: {figures}")
        print(f"wrote {self._out}, {facts_path(self._out)} and {curve}; as an encoder:")
        print(f"  {facts.export_command(self._out)}")
