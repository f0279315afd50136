"""`python -m export`: from an original's name, or any Keras file, to an ONNX file proven equal to it.

    python -m export resnet50 --weights imagenet
    python -m export mobilenet --alpha 0.75 --weights mobilenet_v1_075_224_notop.weights.h5
    python -m export autoencoder-published --weights autoencoder_model.h5 --out published.onnx
    python -m export --all-small
    python -m export --keras classifier.keras --layer avg_pool --preprocess caffe --name mine

Small models go into the package's zoo only by --all-small or --out; by default files go to the cache folder.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from export.quiet import import_tensorflow_quietly
from semblance.errors import InputError, SemblanceError
from semblance.inference.models import cache_folder, zoo_folder

if TYPE_CHECKING:
    from models.weights import Opened

SMALL_MODELS = ("autoencoder", "siamese")  # shipped inside the package


class _Pooling(StrEnum):
    none = "none"
    flatten = "flatten"
    average = "average"


class _Metric(StrEnum):
    cos = "cos"
    l2sq = "l2sq"


def main(
    name: Annotated[str | None, typer.Argument(help="an original of models/, such as siamese or resnet101")] = None,
    weights: Annotated[str | None, typer.Option(help="imagenet, random, or a .weights.h5, .h5 or .keras file")] = None,
    out: Annotated[Path | None, typer.Option(help="the file to write; default: NAME.onnx in the cache folder")] = None,
    seed: Annotated[int | None, typer.Option(help="of random weights; default 0")] = None,
    alpha: Annotated[float | None, typer.Option(help="MobileNet's width")] = None,
    parity_images: Annotated[
        int | None,
        typer.Option(min=11, help="images to compare on; default 10,000 for small models, or 1,000"),
    ] = None,
    opset: Annotated[int, typer.Option(min=17, max=18)] = 18,
    all_small: Annotated[bool, typer.Option("--all-small", help="export what the package ships into its zoo")] = False,
    keras: Annotated[Path | None, typer.Option(help="a whole model in a .keras or .h5 file that you trust")] = None,
    layer: Annotated[str | None, typer.Option(help="with --keras: the layer whose output is the embedding")] = None,
    preprocess: Annotated[str | None, typer.Option(help="with --keras: none, rescale-255, tf, caffe or torch")] = None,
    name_: Annotated[str | None, typer.Option("--name", help="with --keras: what to call it")] = None,
    pooling: Annotated[_Pooling | None, typer.Option(help="with --keras; default: average for feature maps")] = None,
    unit_length: Annotated[bool | None, typer.Option(help="with --keras: L2-normalise; default: yes")] = None,
    metric: Annotated[_Metric | None, typer.Option(help="with --keras: of vectors; default: cos")] = None,
) -> None:
    """Export one original, all small ones, or any Keras model, and prove that the file answers as it does."""
    if sum((name is not None, all_small, keras is not None)) != 1:
        raise InputError("give exactly one of: an original's NAME, --all-small, --keras FILE; see --help")
    of_keras = {"layer": layer, "preprocess": preprocess, "name": name_, "pooling": pooling, "metric": metric,
                "unit-length": unit_length}  # fmt: skip
    of_original = {"weights": weights, "alpha": alpha, "seed": seed}
    if keras is None:
        _refuse(of_keras, "goes with --keras FILE; an original has its own")
    else:
        _refuse(of_original, "goes with an original's NAME; the file has its own weights and shape")
    if all_small:
        _refuse({"out": out, **of_original}, "does not go with --all-small, which writes what is shipped into the zoo")
    import_tensorflow_quietly()
    options: dict[str, Any] = {"opset": opset, "num_images": parity_images}
    if keras is not None:
        if layer is None or preprocess is None:
            raise InputError("--keras FILE needs --layer NAME and --preprocess NAME: the file does not say them")
        from export.keras_file import open_keras

        choice = pooling.value if pooling else None
        opened = open_keras(
            keras, layer=layer, preprocess=preprocess, name=name_, pooling=choice, unit_length=unit_length is not False,
            metric=metric.value if metric else "cos",
        )  # fmt: skip
        _export(opened, out, options)
        return
    for each in SMALL_MODELS if all_small else (name,):
        _export(_open(each, weights, seed or 0, alpha), zoo_folder() / f"{each}.onnx" if all_small else out, options)


def _refuse(options: dict[str, Any], why: str) -> None:
    """An option that would be dropped in silence is an error instead."""
    if given := [f"--{name}" for name, value in options.items() if value is not None]:
        raise InputError(f"{given[0]} {why}")


def _open(name: str, weights: str | None, seed: int, alpha: float | None) -> Opened:
    from models.base import find
    from models.weights import open_original

    original = find(name) if alpha is None else find(name, alpha=alpha)
    return open_original(original, weights, seed=seed)


def _export(opened: Opened, out: Path | None, options: dict[str, Any]) -> None:
    from export.report import show
    from export.write import export

    path = out or cache_folder() / f"{opened.original.name}.onnx"
    card, parity = export(opened, path, **options)
    show(path, card, parity, opened)


def run() -> None:
    """The command, its users' mistakes as one line on stderr and exit status 1."""
    try:
        typer.run(main)
    except SemblanceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run()
