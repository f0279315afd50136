"""`python -m export`: from an original's name, or any Keras file, to an ONNX file proven equal to it, and its variants.

    python -m export resnet50 --weights imagenet
    python -m export mobilenet --alpha 0.75 --weights mobilenet_v1_075_224_notop.weights.h5
    python -m export autoencoder-published --weights autoencoder_model.h5 --out published.onnx
    python -m export --all-small
    python -m export --keras classifier.keras --layer avg_pool --preprocess caffe --name mine
    python -m export mobilenet --precision int8
    python -m export mine.onnx --precision fp16 --images photographs/

Small models go into the package's zoo only by --all-small or --out; by default files go to the cache folder. A variant
is made from the fp32 file, which is exported first where there is none or where options say how; it is written only if
it finds what that finds.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from export.quiet import import_tensorflow_quietly
from semblance.errors import InputError, SemblanceError
from semblance.inference.models import cache_folder, find_model, zoo_folder

if TYPE_CHECKING:
    from export.variant import Lower
    from models.weights import Opened

SMALL_MODELS = ("autoencoder", "siamese")  # shipped inside the package


class _Pooling(StrEnum):
    none = "none"
    flatten = "flatten"
    average = "average"


class _Precision(StrEnum):
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"
    bf16 = "bf16"


class _Metric(StrEnum):
    cos = "cos"
    l2sq = "l2sq"


def main(
    name: Annotated[
        str | None,
        typer.Argument(help="an original of models/, such as siamese; with --precision also an .onnx file"),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="imagenet, random, or a .weights.h5, .h5 or .keras file")] = None,
    out: Annotated[Path | None, typer.Option(help="the file to write; default: NAME.onnx in the cache folder")] = None,
    seed: Annotated[int | None, typer.Option(help="of random weights; default 0")] = None,
    alpha: Annotated[float | None, typer.Option(help="MobileNet's width")] = None,
    parity_images: Annotated[
        int | None,
        typer.Option(min=11, help="images to compare on; default 10,000 for small models, or 1,000"),
    ] = None,
    opset: Annotated[int | None, typer.Option(min=17, max=18, help="default: 18")] = None,
    all_small: Annotated[bool, typer.Option("--all-small", help="export what the package ships into its zoo")] = False,
    keras: Annotated[Path | None, typer.Option(help="a whole model in a .keras or .h5 file that you trust")] = None,
    layer: Annotated[str | None, typer.Option(help="with --keras: the layer whose output is the embedding")] = None,
    preprocess: Annotated[str | None, typer.Option(help="with --keras: none, rescale-255, tf, caffe or torch")] = None,
    name_: Annotated[str | None, typer.Option("--name", help="with --keras: what to call it")] = None,
    pooling: Annotated[_Pooling | None, typer.Option(help="with --keras; default: average for feature maps")] = None,
    unit_length: Annotated[bool | None, typer.Option(help="with --keras: L2-normalise; default: yes")] = None,
    metric: Annotated[_Metric | None, typer.Option(help="with --keras: of vectors; default: cos")] = None,
    precision: Annotated[
        _Precision, typer.Option(help="fp16, int8, bf16: a variant of the fp32 file")
    ] = _Precision.fp32,
    images: Annotated[
        str | None, typer.Option(help="with --precision: labelled pictures to calibrate and judge on")
    ] = None,
    gate_images: Annotated[
        int | None, typer.Option(min=22, help="with --precision: how many to judge on; default 10,000 small or 5,000")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="with --precision: write what finds too little")] = False,
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
    options: dict[str, Any] = {"opset": 18 if opset is None else opset, "num_images": parity_images}
    if precision is _Precision.fp32:
        _refuse({"images": images, "gate-images": gate_images, "force": force or None}, "goes with --precision")
        if name is not None and name.endswith(".onnx"):
            raise InputError(f"{name} is exported already; with --precision a variant of it is made")
    if keras is not None and (layer is None or preprocess is None):
        raise InputError("--keras FILE needs --layer NAME and --preprocess NAME: the file does not say them")

    def export_fp32(path: Path | None) -> None:
        if keras is None:
            assert name is not None  # one of the three was given, and this is not for all
            _export(_open(name, weights, seed or 0, alpha), path, options)
            return
        import_tensorflow_quietly()
        from export.keras_file import open_keras

        assert layer is not None  # checked above, as
        assert preprocess is not None
        choice = pooling.value if pooling else None
        opened = open_keras(
            keras, layer=layer, preprocess=preprocess, name=name_, pooling=choice, unit_length=unit_length is not False,
            metric=metric.value if metric else "cos",
        )  # fmt: skip
        _export(opened, path, options)

    if precision is not _Precision.fp32:
        if all_small:
            raise InputError(f"--precision {precision} does not go with --all-small; export the variants one by one")
        has_own = keras is not None or any(each is not None for each in (weights, alpha, seed, opset, parity_images))
        source = _fp32_file(name or name_ or _stem(keras), out, precision.value, has_own=has_own)
        if has_own or not source.is_file():
            export_fp32(source)
        _export_variant(source, out, precision.value, images, gate_images, force=force)
    elif all_small:
        for each in SMALL_MODELS:
            _export(_open(each, None, 0, None), zoo_folder() / f"{each}.onnx", options)
    else:
        export_fp32(out)


def _refuse(options: dict[str, Any], why: str) -> None:
    """An option that would be dropped in silence is an error instead."""
    if given := [f"--{name}" for name, value in options.items() if value is not None]:
        raise InputError(f"{given[0]} {why}")


def _fp32_file(name: str, out: Path | None, precision: str, *, has_own: bool) -> Path:
    """The fp32 file that a variant is made from, which need not be there yet unless it was named itself."""
    if name.endswith(".onnx"):
        if has_own:
            raise InputError(f"{name} is exported already; options of an export go with an original's NAME")
        return find_model(name)
    if out is not None:
        if not out.name.endswith(f".{precision}.onnx"):
            raise InputError(f"--out {out}: a variant is called NAME.{precision}.onnx, and NAME.onnx lies beside it")
        return out.with_name(out.name.removesuffix(f".{precision}.onnx") + ".onnx")
    shipped = zoo_folder() / f"{name}.onnx"
    return shipped if shipped.is_file() and not has_own else cache_folder() / f"{name}.onnx"


def _stem(keras: Path | None) -> str:
    assert keras is not None  # else there is a name
    return keras.stem


def _export_variant(
    source: Path, out: Path | None, precision: Lower, images: str | None, num_gate: int | None, *, force: bool
) -> None:
    from export.gate import GateError
    from export.report import show_variant
    from export.variant import export_variant

    if out is None:  # beside the fp32 file; of what is shipped with the package in the cache folder
        folder = cache_folder() if source.parent == zoo_folder() else source.parent
        out = folder / f"{source.stem}.{precision}.onnx"
    exported = export_variant(source, out, precision, images=images, num_gate=num_gate, force=force)
    show_variant(exported)
    if not exported.is_written:
        raise GateError(
            f"{out.name} finds too little of what {source.name} finds, see the table; it was not written. Write it all "
            "the same with --force, or give --images of what it is for"
        )


def _open(name: str, weights: str | None, seed: int, alpha: float | None) -> Opened:
    import_tensorflow_quietly()
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
