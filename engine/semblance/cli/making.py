"""Commands that embed: `embed` makes a gallery or carries one on, `add` puts more into it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semblance.cli.console import (
    Backend,
    GalleryPath,
    Json,
    Model,
    OwnModel,
    Threads,
    print_json,
    progress_bars,
    say,
    show,
)
from semblance.cli.devices import Devices, GpuMemory, NoSpinning, Tf32, gpu_options
from semblance.errors import GalleryError
from semblance.inputs.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from semblance.gallery.manifest import Manifest
    from semblance.gallery.report import BuildReport
    from semblance.local.sift import SiftOptions

Place = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A folder of pictures, of tar or of Parquet files; a .tar, .parquet, .csv, .txt, .npy, idx or image file; "
        "- for a list of paths on standard input; a gallery, whose pictures are embedded again; or fashion-mnist.",
    ),
]
Streams = Annotated[
    int | None,
    typer.Option(min=1, help="Batches embedded at a time, which share the threads. Default: as many as pay."),
]
Workers = Annotated[int | None, typer.Option(min=0, help="Decoding threads. Default: all this process may use.")]
MaxErrors = Annotated[int | None, typer.Option(min=0, help="Stop after this many unusable pictures. Default: never.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first unusable picture; --max-errors 0.")]
Labels = Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Labels by uri, in the place of the source's.")]
LabelColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column (CSV, Parquet) or .json field (tar) that holds the labels.")
]
ImageColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of a CSV or Parquet file with the pictures or their paths.")
]


def embed(
    source: Place,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="GALLERY", help="New, or a gallery to carry on.")],
    model: Model = "siamese",
    backend: Backend = "auto",
    threads: Threads = None,
    streams: Streams = None,
    devices: Devices = None,
    tf32: Tf32 = False,
    gpu_memory: GpuMemory = None,
    no_spinning: NoSpinning = False,
    workers: Workers = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Largest batch. Default: by the model's input.")] = None,
    shard_rows: Annotated[
        int | None, typer.Option(min=1, help="Pictures to one commit. Default: 4,096, fewer for wide vectors.")
    ] = None,
    vector_type: Annotated[str, typer.Option(help="float32, or float16 for half the space.")] = "float32",
    max_pixels: Annotated[
        int,
        typer.Option(
            min=1, help="Largest picture, height x width; AVIF, animated WebP, CMYK JPEG and 16-bit colour count twice."
        ),
    ] = DEFAULT.max_pixels,
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest file of a picture.")] = DEFAULT.max_bytes,
    scaled_decode: Annotated[
        bool, typer.Option("--scaled-decode", help="Decode large JPEGs smaller: faster, not quite the same vectors.")
    ] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Index with one thread: the same bytes each time.")
    ] = False,
    index_type: Annotated[
        str | None,
        typer.Option(
            help="f32, f16, bf16 or i8 inside the index. Default: the smallest whose candidates lose nothing."
        ),
    ] = None,
    sift: Annotated[
        bool, typer.Option("--sift", help="Keep the SIFT keypoints of every picture too, for `add` as well.")
    ] = False,
    max_keypoints: Annotated[
        int | None, typer.Option(min=1, help="With --sift: the strongest of a picture. Default: 512, up to 76 kB.")
    ] = None,
    sift_longest_side: Annotated[
        int | None, typer.Option(min=1, help="With --sift: larger pictures are shrunk to it first. Default: 1024.")
    ] = None,
    sift_contrast: Annotated[
        float | None, typer.Option(min=0, help="With --sift: weaker keypoints are dropped. Default: 0.04.")
    ] = None,
    root_sift: Annotated[
        bool, typer.Option("--root-sift", help="With --sift: descriptors as RootSIFT, rounded to bytes.")
    ] = False,
    max_errors: MaxErrors = None,
    strict: Strict = False,
    labels: Labels = None,
    label_column: LabelColumn = None,
    image_column: ImageColumn = None,
    as_json: Json = False,
) -> None:
    """Embed every picture of SOURCE into GALLERY, or carry on where an earlier run was stopped.

    A picture that cannot be used stops nothing: it is a row of the gallery's errors.parquet. Every shard is a commit,
    so whatever stops the command, the same command carries on from the last one.
    """
    from semblance.card import read_card
    from semblance.gallery.build import begun
    from semblance.gallery.index_options import IndexOptions
    from semblance.gallery.writer import locked
    from semblance.inference.encoder import Encoder
    from semblance.inference.models import find_model
    from semblance.search import Gallery, open_pictures, sift_extractor

    start = time.perf_counter()
    gpu = gpu_options(devices, tf32, gpu_memory)
    opened = open_pictures(source, labels=labels, label_column=label_column, image_column=image_column)
    shaping = {
        "shard_rows": shard_rows,
        "batch": batch,
        "vector_type": vector_type,
        "limits": Limits(max_pixels, max_bytes, scaled_decode),
        "index": IndexOptions(index_type),  # type: ignore[arg-type]  # it checks
        "deterministic": deterministic,
    }
    sift_options = _sift_options(sift, max_keypoints, sift_longest_side, sift_contrast, root_sift)
    extractor = None if sift_options is None else sift_extractor(sift_options)
    card = read_card(find_model(model))
    before = begun(out, card, opened, extractor=extractor, **shaping)  # type: ignore[arg-type]
    if before is not None and _is_done(before):
        with suppress(GalleryError), locked(out):
            pass  # a run that was killed after its last commit left its lock
        report = _nothing_done(before, time.perf_counter() - start)
        _print_report(out, report, as_json, model=card.name, runs_on=None)
        return
    if before is not None:
        # what was tuned or installed since then changes neither
        shaping["batch"] = batch = before.options["batch"]
        if backend == "auto" and not before.parts[0].is_complete:
            backend = before.options.get("backend", backend)
        say(f"{out} is unfinished: carrying on after {before.parts[0].num_items:,} pictures of {opened.name}")
    with _told(out):
        encoder = Encoder.load(
            model,
            backend=backend,
            threads=threads,
            streams=streams,
            max_batch=batch,
            workers=workers,
            spinning=not no_spinning,
            gpu=gpu,
        )
        say(f"{encoder.card.name}: {encoder.description}")
        with progress_bars("images", "images indexed") as (progress, index_progress):
            gallery = Gallery.build(
                opened,
                encoder,
                out,
                sift=sift_options,
                workers=workers,
                max_errors=0 if strict else max_errors,
                progress=progress,
                index_progress=index_progress,
                **shaping,  # type: ignore[arg-type]
            )
    assert gallery.report is not None  # this very call built it
    _print_report(out, gallery.report, as_json, model=encoder.card.name, runs_on=encoder.description)


def add(
    gallery: GalleryPath,
    source: Place,
    model: OwnModel = None,
    backend: Backend = "auto",
    threads: Threads = None,
    streams: Streams = None,
    devices: Devices = None,
    tf32: Tf32 = False,
    gpu_memory: GpuMemory = None,
    no_spinning: NoSpinning = False,
    workers: Workers = None,
    max_errors: MaxErrors = None,
    strict: Strict = False,
    labels: Labels = None,
    label_column: LabelColumn = None,
    image_column: ImageColumn = None,
    as_json: Json = False,
) -> None:
    """Embed the pictures of a further SOURCE into GALLERY, by the options that it was made with.

    From a source that is in it already, pictures with a new name are added and those whose bytes changed are embedded
    anew; the others are left alone. Stopped, the same command carries on.
    """
    from semblance.gallery.gallery import VectorGallery
    from semblance.inference.encoder import Encoder
    from semblance.search import Gallery, load_encoder, open_pictures

    gpu = gpu_options(devices, tf32, gpu_memory)
    opened = open_pictures(source, labels=labels, label_column=label_column, image_column=image_column)
    vectors = VectorGallery.open(gallery)
    how: dict[str, Any] = {
        "backend": backend,
        "threads": threads,
        "streams": streams,
        "max_batch": vectors.manifest.options["batch"],
        "spinning": not no_spinning,
        "gpu": gpu,
    }
    encoder = load_encoder(vectors, **how) if model is None else Encoder.load(model, **how)
    target = Gallery(vectors, encoder)
    say(f"{encoder.card.name}: {encoder.description}")
    with _told(gallery), progress_bars("images", "images indexed") as (progress, index_progress):
        report = target.add(
            opened,
            workers=workers,
            max_errors=0 if strict else max_errors,
            progress=progress,
            index_progress=index_progress,
        )
    _print_report(gallery, report, as_json, model=encoder.card.name, runs_on=encoder.description)


# ------------------------------------------------------------------------------------------------------------------


def _sift_options(
    is_asked: bool, max_keypoints: int | None, longest_side: int | None, contrast: float | None, is_root: bool
) -> SiftOptions | None:
    from semblance.local.sift import SiftOptions

    given = {"max_keypoints": max_keypoints, "longest_side": longest_side, "contrast_threshold": contrast}
    given = {name: value for name, value in given.items() if value is not None}
    if is_asked:
        return SiftOptions(**given, is_root=is_root)  # type: ignore[arg-type]  # typer gave each its type
    if given or is_root:
        raise typer.BadParameter(
            "--max-keypoints, --sift-longest-side, --sift-contrast and --root-sift say how --sift is done; give it too"
        )
    return None


def _is_done(manifest: Manifest) -> bool:
    """Whether there is nothing to do for the source that the gallery was begun with; a later one may be unfinished."""
    return manifest.is_complete or (manifest.parts[0].is_complete and manifest.index is not None)


def _nothing_done(manifest: Manifest, seconds: float) -> BuildReport:
    from semblance.gallery.pipeline import Times
    from semblance.gallery.report import make_report

    images, errors = manifest.num_images, manifest.errors.num_rows
    return make_report(Times(), num_images=images, num_errors=errors, num_taken=0, num_added=0, total_seconds=seconds)


def _print_report(path: Path, report: BuildReport, as_json: bool, *, model: str, runs_on: str | None) -> None:
    if as_json:
        print_json({"gallery": path, "model": model, "runs_on": runs_on, **asdict(report)})
        return
    if not report.num_taken:
        show(f"{path} has all of it: {report.num_images:,} images, {report.num_errors:,} unusable; nothing to do")
    else:
        show(f"{path}: {report.num_images:,} images, {report.num_errors:,} unusable, "
             f"{report.images_per_sec:,.0f} images/s")  # fmt: skip
        if report.num_taken > report.num_added:
            show(f"This run took {report.num_taken:,} pictures and added {report.num_added:,}")
        shares = ", ".join(f"{stage} {share:.0%}" for stage, share in report.busy.items())
        show(f"Busy: {shares}; the index took {report.seconds['index']:.1f} of {report.seconds['total']:.1f} s")
    if report.advice:
        show(report.advice)
    if report.num_errors:
        show(f"The unusable ones, with the reason: {path / 'errors.parquet'}")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """A body that fails or is stopped ends with a line on what is committed at `path`."""
    try:
        yield
    except SystemExit:
        say(f"stopped: {_committed(path)}")
        raise
    except GalleryError:  # says so itself
        raise
    except Exception:
        say(_committed(path))
        raise


def _committed(path: Path) -> str:
    from semblance.gallery.manifest import Manifest

    try:
        manifest = Manifest.read(path)
    except GalleryError:
        return "nothing was committed, and nothing is left behind"
    last = manifest.parts[-1]
    return (
        f"{manifest.num_images:,} images are committed in {path}, after {last.num_items:,} pictures of {last.source}; "
        "the same command carries on from there"
    )
