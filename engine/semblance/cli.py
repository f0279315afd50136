"""The command line: a thin skin over functions that are useful without it.

Results go to stdout (`--json`: one JSON document), everything else to stderr. Exit status 0 is success, 1 a failure
that is told in one line, 2 a usage error.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

import semblance
from semblance.errors import SemblanceError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# Names of files and labels are printed as they are: brackets in them are no markup, nor are colons an emoji
_out = Console(markup=False, emoji=False, highlight=False)
_err = Console(stderr=True, markup=False, emoji=False, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Model = Annotated[str, typer.Option("--model", "-m", help="A name that `semblance models` lists, or an ONNX file.")]
Backend = Annotated[str, typer.Option(help="auto, cpu or cuda. What is asked for is used, or it is an error.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads inside the model. Default: all this process may use.")
]


def main() -> None:
    """Run the command line; a user's mistake becomes one line on stderr and status 1."""
    logging.basicConfig(format="%(message)s")  # to stderr
    logging.getLogger("semblance").setLevel(logging.INFO)  # a download says so
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except SemblanceError as error:
        print(f"semblance: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from None


def _stop(number: int, frame: object) -> None:
    """A polite kill ends as Ctrl-C does: what was half made is removed on the way out."""
    raise SystemExit(128 + number)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(semblance.__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find the images that look like an image."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the gallery and the pictures.")] = Path("semblance-demo"),
    stand_in: Annotated[bool, typer.Option(help="Use the drawn stand-in instead of Fashion-MNIST.")] = False,
    as_json: Json = False,
) -> None:
    """Embed, index, search and score 70,000 images, and picture the neighbours."""
    from semblance.demo import run_demo

    with _progress("images") as progress:
        result = run_demo(out, stand_in=stand_in, say=_say, progress=progress)
    fields = asdict(result)
    if as_json:
        _print_json(fields)
        return
    title = f"{result.data}: {result.num_queries:,} queries against {result.num_gallery:,} images, {result.model}"
    _out.print(title, soft_wrap=True)
    table = Table("figure")
    table.add_column("value", justify="right")
    for name, value, form in _DEMO_ROWS:
        table.add_row(name, form.format(fields[value]))
    _out.print(table)
    query = result.queries[0]
    program = "semblance" if shutil.which("semblance") else sys.argv[0]  # not on the path where nothing was activated
    _out.print(f"Contact sheet: {result.sheet}\nTry next:", soft_wrap=True)
    for command in (
        f"{program} search {result.gallery} {query} -k 5 --sheet found.png",
        f"{program} info {result.gallery}",
        f"{program} embed YOUR_FOLDER --model siamese --out my-gallery",
    ):
        _out.print(f"  {command}", soft_wrap=True)


_DEMO_ROWS = (
    ("P@1", "precision_at_1", "{:.4f}"),
    ("P@5", "precision_at_5", "{:.4f}"),
    ("P@10", "precision_at_10", "{:.4f}"),
    ("R@10", "recall_at_10", "{:.4f}"),
    ("F1@10", "f1_at_10", "{:.4f}"),
    ("mAP@10", "mean_average_precision_at_10", "{:.4f}"),
    ("hit@5", "hit_rate_at_5", "{:.4f}"),
    ("index recall@10 against exact search", "index_recall_at_10", "{:.4f}"),
    ("embedding, images/s", "embed_images_per_sec", "{:,.0f}"),
    ("whole gallery build, images/s", "build_images_per_sec", "{:,.0f}"),
    ("one query end to end, p50, ms", "query_p50_ms", "{:.2f}"),
    ("one query end to end, p99, ms", "query_p99_ms", "{:.2f}"),
)


@app.command()
def models(as_json: Json = False) -> None:
    """List the models that can be named: those shipped and those exported into the cache."""
    from semblance.inference.models import list_models, zoo_folder

    found = list_models()
    if as_json:
        cards = [json.loads(entry.card.to_json()) if entry.card else {} for entry in found]
        _print_json([{"path": e.path, "problem": e.problem, **card} for e, card in zip(found, cards, strict=True)])
        return
    table = Table("name", "eats", "gives", "metric", "precision", "space", "from")
    for entry in found:
        origin = "shipped" if entry.path.parent == zoo_folder() else "cache"
        card = entry.card
        if card is None:
            _say(f"{entry.problem}")
            continue
        eats = f"{card.height}x{card.width} {'grey' if card.channels == 1 else 'RGB'}"
        table.add_row(
            card.name, eats, f"{card.dimension:,}-d", card.metric, card.precision, card.fingerprint[:8], origin
        )
    _out.print(table)


@app.command()
def embed(
    source: Annotated[str, typer.Argument(help="A folder, an idx or npy file, a picture, or fashion-mnist:test.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The gallery to make; must not exist yet.")],
    model: Model = "siamese",
    backend: Backend = "auto",
    threads: Threads = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Largest batch. Default: by the model's input.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Decoding threads. Default: as --threads.")] = None,
    as_json: Json = False,
) -> None:
    """Embed every picture of SOURCE into a new gallery."""
    from semblance.inference.encoder import Encoder
    from semblance.inputs.sources import open_source
    from semblance.search import Gallery

    opened = open_source(source)
    encoder = Encoder.load(model, backend=backend, threads=threads, max_batch=batch, workers=workers)
    _say(f"{encoder.card.name}: {encoder.description}")
    with _progress("images") as progress:
        gallery = Gallery.build(opened, encoder, out, progress=progress, workers=workers)
    report = gallery.report
    assert report is not None  # this very call built it
    if as_json:
        _print_json({"gallery": out, "model": encoder.card.name, "runs_on": encoder.description, **asdict(report)})
        return
    _out.print(f"{out}: {report.num_images:,} images, {report.num_errors:,} unusable, "
               f"{report.images_per_sec:,.0f} images/s", soft_wrap=True)  # fmt: skip
    if report.num_errors:
        _out.print(f"The unusable ones, with the reason: {out / 'errors.parquet'}")


@app.command()
def search(
    gallery: Annotated[Path, typer.Argument(help="A gallery made by `semblance embed`.")],
    images: Annotated[list[Path], typer.Argument(help="The query pictures.")],
    k: Annotated[int, typer.Option("-k", help="Neighbours per query.")] = 10,
    exact: Annotated[bool, typer.Option(help="Compare with every vector instead of asking the index.")] = False,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet (PNG) here.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Default: the gallery's own model.")] = None,
    backend: Backend = "auto",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Find the K pictures of GALLERY nearest to each IMAGE."""
    from semblance.gallery.gallery import VectorGallery
    from semblance.inference.encoder import Encoder
    from semblance.search import Gallery, load_encoder

    vectors = VectorGallery.open(gallery)
    vectors.check_k(k)
    max_batch = min(len(images), 32)
    if model is None:
        encoder = load_encoder(vectors, backend=backend, threads=threads, max_batch=max_batch, warm_up=False)
    else:
        encoder = Encoder.load(model, backend=backend, threads=threads, max_batch=max_batch, warm_up=False)
    opened = Gallery(vectors, encoder)
    hits = opened.hits(images, k, exact=exact)
    if sheet is not None:
        from semblance.sheet import save_sheet

        save_sheet(sheet, opened, images, hits)
    if as_json:
        queries = [
            {"image": image, "neighbours": list(map(asdict, row))} for image, row in zip(images, hits, strict=True)
        ]
        _print_json({"gallery": gallery, "model": opened.card.name, "metric": opened.card.metric, "queries": queries})
        return
    for image, row in zip(images, hits, strict=True):
        table = Table("rank", "distance", "label", "key", "uri", title=str(image), title_justify="left")
        for rank, hit in enumerate(row, 1):
            table.add_row(str(rank), f"{hit.distance:.4f}", hit.label or "", str(hit.key), hit.uri)
        _out.print(table)
    if sheet is not None:
        _out.print(f"Contact sheet: {sheet}")


@app.command()
def info(
    gallery: Annotated[Path, typer.Argument(help="A gallery made by `semblance embed`.")], as_json: Json = False
) -> None:
    """Say what is in a gallery: images, model, embedding space, files."""
    from semblance.gallery.gallery import VectorGallery

    facts = VectorGallery.open(gallery).describe()
    if as_json:
        _print_json(facts)
        return
    table = Table(show_header=False, title=str(gallery), title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")  # a fingerprint is of use only whole
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    _out.print(table)


# ------------------------------------------------------------------------------------------------------------------


class _RateColumn(ProgressColumn):
    """Images per second since the start, which a pause does not make forget."""

    def render(self, task: Task) -> Text:
        if not task.completed or not task.elapsed:
            return Text("")
        return Text(f"{task.completed / task.elapsed:,.0f}/s")


@contextmanager
def _progress(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, as a function of (done, total) that appears with its first call; no bar where nobody looks."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(unit), _RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_err, transient=True, disable=not _err.is_terminal) as bar:
        task = bar.add_task(unit, total=None, visible=False)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        yield show


def _say(text: str) -> None:
    _err.print(text, soft_wrap=True)


def _print_json(document: Any) -> None:
    print(json.dumps(document, default=str, indent=2))
