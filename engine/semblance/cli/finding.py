"""Commands that find: neighbours of pictures, near-duplicates, and how well the index finds them."""

from __future__ import annotations

import math
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from semblance.cli.console import (
    OUT,
    Backend,
    GalleryPath,
    Json,
    OwnModel,
    Threads,
    Where,
    print_json,
    progress_bar,
    show,
)
from semblance.cli.devices import Devices, GpuMemory, NoSpinning, Tf32, gpu_options
from semblance.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from semblance.gallery.duplicates import Groups
    from semblance.search import Gallery, Hit

SHORTLIST = 100  # as `semblance.rerank`'s, which is loaded only when it is needed


class Method(StrEnum):
    """What neighbours are found by."""

    embedding = "embedding"
    sift = "sift"


class Rerank(StrEnum):
    """What neighbours are put in order by."""

    sift = "sift"


_SHEET_GROUPS, _SHEET_MEMBERS = 12, 6  # of near-duplicates on one sheet


def search(
    gallery: GalleryPath,
    queries: Annotated[
        list[Path] | None, typer.Argument(metavar="QUERY", help="Query pictures, or folders of them.")
    ] = None,
    key: Annotated[
        list[int] | None, typer.Option(help="Search with the picture of this key; may be given several times.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Neighbours per query; fewer where fewer pass --where.")] = 10,
    where: Where = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every vector, not by the index.")] = False,
    method: Annotated[
        Method, typer.Option(help="sift ranks the whole gallery by keypoints alone, which needs no model.")
    ] = Method.embedding,
    rerank: Annotated[
        Rerank | None,
        typer.Option(help="Put the nearest in order by the keypoints that they share with the query."),
    ] = None,
    shortlist: Annotated[
        int | None,
        typer.Option(min=1, help=f"With keypoints: pictures that geometry is looked for in. Default: {SHORTLIST}."),
    ] = None,
    sheet: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Write a contact sheet here.")] = None,
    model: OwnModel = None,
    backend: Backend = "auto",
    threads: Threads = None,
    devices: Devices = None,
    tf32: Tf32 = False,
    gpu_memory: GpuMemory = None,
    no_spinning: NoSpinning = False,
    as_json: Json = False,
) -> None:
    """Find the K pictures of GALLERY nearest to each QUERY.

    With --key the queries are pictures of the gallery itself, each of which finds itself first; that needs no model.
    --rerank sift and --method sift take a gallery made with `embed --sift`; most inliers come first.
    """
    from semblance.gallery.gallery import VectorGallery
    from semblance.inference.encoder import Encoder
    from semblance.rerank import Verification
    from semblance.search import Gallery, load_encoder

    if method is Method.sift and (rerank or exact):
        raise typer.BadParameter("--method sift compares keypoints alone; leave out --rerank and --exact")
    if shortlist is not None and method is Method.embedding and rerank is None:
        raise typer.BadParameter("--shortlist goes with --rerank sift or --method sift")
    if model is not None and (key or method is Method.sift):
        raise typer.BadParameter("--key and --method sift need no model; leave out --model")
    if key and method is Method.embedding and rerank is None and (backend != "auto" or threads is not None):
        raise typer.BadParameter(
            "--backend and --threads say how a model or keypoints are run, and --key without --rerank runs neither; "
            "leave them out"
        )
    how = Verification(
        shortlist=SHORTLIST if shortlist is None else shortlist,
        backend="cpu" if backend == "auto" else backend,
        threads=threads,
    )
    gpu = gpu_options(devices, tf32, gpu_memory)
    if (gpu is not None or no_spinning) and (key or method is Method.sift):
        raise typer.BadParameter(
            "--devices, --tf32, --gpu-memory and --no-spinning say how the model is run, and --key and --method sift "
            "need none; leave them out"
        )
    if bool(queries) == bool(key):
        raise typer.BadParameter("give query pictures, or --key for pictures of the gallery itself; one of the two")
    vectors = VectorGallery.open(gallery)
    vectors.check_k(k)
    asked: list[Any] = [*(key or []), *_pictures(queries or [])]
    by_embedding: dict[str, Any] = {"exact": exact, "where": where, "rerank": how if rerank else None}
    if method is Method.sift:
        opened = Gallery(vectors)
        if key:
            hits = opened.described(opened.search_sift_keys(key, k, where=where, how=how))
        else:
            hits = opened.described(opened.search_sift(asked, k, where=where, how=how))
    elif key:
        opened = Gallery(vectors)
        hits = opened.described(opened.search_keys(np.array(key), k, **by_embedding))
    else:
        loading: dict[str, Any] = {
            "backend": backend,
            "threads": threads,
            "max_batch": min(len(asked), 32),
            "warm_up": False,
            "spinning": not no_spinning,
            "gpu": gpu,
        }
        encoder = load_encoder(vectors, **loading) if model is None else Encoder.load(model, **loading)
        opened = Gallery(vectors, encoder)
        hits = opened.hits(asked, k, **by_embedding)
    if sheet is not None:
        from semblance.sheet import save_sheet

        save_sheet(sheet, opened, asked, hits)
    if as_json:
        kind = "key" if key else "image"
        found = [{kind: query, "neighbours": list(map(_facts, row))} for query, row in zip(asked, hits, strict=True)]
        print_json({"gallery": gallery, "model": opened.card.name, "metric": opened.card.metric, "queries": found})
        return
    # the first column of figures is what decided
    columns: dict[str, Callable[[Hit], str]] = {}
    if method is Method.embedding:
        columns = {"distance": lambda hit: f"{hit.distance:.4f}"}
    if method is Method.sift or rerank:
        columns = {"inliers": lambda hit: str(hit.inliers), "matches": lambda hit: str(hit.matches), **columns}
    for query, row in zip(asked, hits, strict=True):
        table = Table("rank", *columns, "label", "key", "uri", title_justify="left")
        table.title = f"key {query}" if key else str(query)
        for rank, hit in enumerate(row, 1):
            table.add_row(str(rank), *(tell(hit) for tell in columns.values()), hit.label or "", str(hit.key), hit.uri)
        OUT.print(table)
    if sheet is not None:
        show(f"Contact sheet: {sheet}")


def _facts(hit: Hit) -> dict[str, Any]:
    """What --json says of a neighbour: without what was not compared."""
    facts = asdict(hit)
    if math.isnan(hit.distance):
        del facts["distance"]
    if hit.inliers is None:
        del facts["matches"], facts["inliers"]
    return facts


def _pictures(queries: list[Path]) -> list[Path]:
    """Files as they are, and the picture files of folders in their place."""
    from semblance.inputs.sources import FolderSource

    return [
        path
        for query in queries
        for path in ((Path(str(item.content)) for item in FolderSource(query)) if query.is_dir() else [query])
    ]


def duplicates(
    gallery: GalleryPath,
    distance: Annotated[float, typer.Option("--distance", "-d", help="By the model's metric; 0 finds copies.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write all members here, .csv or .parquet.")
    ] = None,
    sheet: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Picture the largest groups here.")] = None,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Ask the index: faster in large galleries, may miss some.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find groups of pictures in GALLERY that hang together by pairs at DISTANCE or nearer.

    Every picture is compared with every other, so time grows with the square of their number. Of each group the first
    is to keep and the others are redundant; nothing is removed.
    """
    from semblance.gallery.duplicates import write_report
    from semblance.search import Gallery

    opened = Gallery.open(gallery)
    with progress_bar("tiles" if not approximate else "images") as progress:
        groups = opened.duplicates(distance, approximate=approximate, progress=progress)
    vectors = opened.vectors
    keys, uris = vectors.keys[groups.rows], [vectors.uris[row] for row in groups.rows]
    labels = [vectors.labels[row] for row in groups.rows]
    redundant = len(groups.rows) - groups.num_groups
    if out is not None:
        write_report(out, groups, keys=keys, uris=uris, labels=labels)
    if sheet is not None:
        _save_groups(sheet, opened, groups)
    if as_json:
        members = np.split(keys, np.flatnonzero(groups.is_first)[1:]) if len(keys) else []
        print_json({
            "gallery": gallery, "distance": distance, "approximate": approximate, "num_groups": groups.num_groups,
            "num_redundant": redundant, "groups": [each.tolist() for each in members],
        })  # fmt: skip
        return
    by = "by the index, which may miss some" if approximate else "by comparing all with all"
    show(f"{gallery}: {redundant:,} of {len(vectors):,} images are redundant; groups: {groups.num_groups:,}, {by}")
    if out is not None:
        show(f"Members, with the one to keep: {out}")
    if sheet is not None:
        show(f"Contact sheet: {sheet}")


def _save_groups(path: Path, gallery: Gallery, groups: Groups) -> None:
    """The largest groups, one a row: the picture to keep, then others with the distance to their nearest member."""
    from semblance.search import Hit
    from semblance.sheet import save_sheet

    vectors, starts = gallery.vectors, np.flatnonzero(groups.is_first)
    sizes = np.diff(starts, append=len(groups.rows))
    keys, rows = list[int](), list[list[Hit]]()
    for number in np.argsort(-sizes, kind="stable")[:_SHEET_GROUPS]:
        first, *others = range(starts[number], starts[number] + min(int(sizes[number]), 1 + _SHEET_MEMBERS))
        keys.append(int(vectors.keys[groups.rows[first]]))
        rows.append([
            Hit(int(vectors.keys[row]), vectors.uris[row], vectors.labels[row], float(groups.distance[at]))
            for at, row in zip(others, groups.rows[others], strict=True)
        ])  # fmt: skip
    more = f", the largest {len(rows)} of {groups.num_groups:,}" if groups.num_groups > len(rows) else ""
    save_sheet(path, gallery, keys, rows, title=f"Near-duplicates in {vectors.path.name}{more}")


def recall(
    gallery: GalleryPath,
    k: Annotated[int, typer.Option("-k", help="Neighbours per query.")] = 10,
    sample: Annotated[int, typer.Option(min=1, help="Pictures of the gallery to search with.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample.")] = 0,
    least: Annotated[
        float | None, typer.Option("--min", min=0, max=1, help="Exit with status 1 where recall is below this.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare GALLERY's index with exact search, for a sample of its own pictures.

    Recall is the share of the K nearest that the index finds; the picture that asks does not count as its neighbour.
    """
    from semblance.search import Gallery

    opened = Gallery.open(gallery)
    result = opened.recall(k, sample=sample, seed=seed)
    if as_json:
        print_json({"gallery": gallery, **asdict(result)})
    else:
        show(f"{gallery}: recall@{result.k} {result.recall:.4f} over {result.num_queries:,} queries, "
             f"{result.num_imperfect:,} of them below 1")  # fmt: skip
        if result.num_imperfect:
            show(f"The worst: key {result.worst_key}, {result.worst_recall:.4f}")
    if least is not None and result.recall < least:
        raise InputError(
            f"recall@{result.k} is {result.recall:.4f}, below {least:g}; `semblance rebuild {gallery}` builds the "
            "index anew, and --exact does without it"
        )
