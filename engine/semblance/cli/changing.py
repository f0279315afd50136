"""Commands that keep a gallery in order, none of which needs a model: `remove`, `compact`, `rebuild`, `verify`,
`export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from semblance.cli.console import OUT, GalleryPath, Json, Where, print_json, progress_bar, say, show


def remove(
    gallery: GalleryPath,
    key: Annotated[list[int] | None, typer.Option(help="A picture's key; may be given several times.")] = None,
    uri: Annotated[list[str] | None, typer.Option(help="A picture's uri; may be given several times.")] = None,
    where: Where = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove pictures from GALLERY: those named by key or uri, and those that a condition lets pass.

    They are found no more at once; `semblance compact` gives back their space. The picture files are not touched.
    """
    from semblance.gallery.gallery import VectorGallery
    from semblance.gallery.upkeep import choose
    from semblance.gallery.upkeep import remove as remove_chosen

    keys, uris = key or [], uri or []
    if not keys and not uris and where is None:
        raise typer.BadParameter("say what to remove: --key, --uri or --where")
    opened = VectorGallery.open(gallery)
    chosen = choose(opened, keys, uris=uris, where=where)
    rows = opened.rows_of(chosen).tolist()
    known_uris = {opened.uris[row] for row in rows} if uris else set()
    missing = [f"key {each}" for each in keys if each not in set(chosen.tolist())]
    for each in [*missing, *(each for each in uris if each not in known_uris)]:
        say(f"{each} is not in {gallery}")
    number = len(chosen) if dry_run else remove_chosen(gallery, keys, uris=uris, where=where)
    left = len(opened) - number
    if as_json:
        print_json({"gallery": gallery, "dry_run": dry_run, "removed": number, "keys": chosen.tolist(), "left": left})
        return
    if dry_run and number:
        table = Table("key", "label", "uri")
        for each, row in zip(chosen.tolist(), rows, strict=True):
            table.add_row(str(each), opened.labels[row] or "", opened.uris[row])
        OUT.print(table)
    did = "would be removed" if dry_run else "removed"
    show(f"{gallery}: {number:,} images {did}, {left:,} left")


def compact(gallery: GalleryPath, as_json: Json = False) -> None:
    """Write GALLERY's files anew without the pictures that were removed or replaced, and give back their space."""
    from semblance.container import available_threads
    from semblance.gallery.upkeep import compact as write_anew

    done = write_anew(gallery, threads=available_threads())
    if as_json:
        print_json({"gallery": gallery, **asdict(done)})
        return
    show(f"{gallery}: {done.num_images:,} images, {done.num_dropped:,} removed rows dropped, "
         f"{done.bytes_before:,} bytes before, {done.bytes_after:,} now")  # fmt: skip


def rebuild(gallery: GalleryPath, as_json: Json = False) -> None:
    """Build GALLERY's index anew from its vectors, whatever state the present one is in."""
    from semblance.container import available_threads
    from semblance.gallery.upkeep import rebuild as build_index

    with progress_bar("images") as progress:
        number = build_index(gallery, threads=available_threads(), progress=progress)
    if as_json:
        print_json({"gallery": gallery, "num_indexed": number})
    else:
        show(f"{gallery}: {number:,} images indexed anew")


def verify(gallery: GalleryPath, as_json: Json = False) -> None:
    """Compare all of GALLERY with what was written: checksums, counts, and the index against the vectors.

    Exit status 1 where anything is wrong. Of an unfinished gallery what is committed is checked.
    """
    from semblance.errors import GalleryError
    from semblance.gallery.facts import read_facts
    from semblance.gallery.verify import verify as find_damage

    findings = find_damage(gallery)
    try:
        facts = read_facts(gallery)
        state = "complete" if facts.is_complete else "unfinished"
        checked = f"{facts.images:,} images in {facts.shards:,} shards"
    except GalleryError:  # the manifest is one of the findings
        state, checked = "damaged", "its manifest cannot be read"
    if as_json:
        print_json({"gallery": gallery, "state": state, "findings": [asdict(finding) for finding in findings]})
    else:
        if findings:
            table = Table("file", "problem", "what to do", show_lines=True)
            for finding in findings:
                table.add_row(finding.file, finding.problem, finding.remedy)
            OUT.print(table)
        found = f"{len(findings)} things are wrong" if len(findings) > 1 else "one thing is wrong"
        unfinished = "; it is unfinished, the command that began it carries on" if state == "unfinished" else ""
        show(f"{gallery}: {checked}, {found if findings else 'nothing is wrong'}{unfinished}")
    if findings:
        raise typer.Exit(1)


def export(
    gallery: GalleryPath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="NAME.parquet, NAME.npy or NAME.usearch.")],
    as_json: Json = False,
) -> None:
    """Write GALLERY as one file for other programs.

    .parquet holds all columns and embeddings; .npy the embeddings [N, D], with their keys in NAME.keys.npy; .usearch an
    index under the gallery's own keys.
    """
    from semblance.container import available_threads
    from semblance.gallery.export import export as write_files
    from semblance.gallery.gallery import VectorGallery

    opened = VectorGallery.open(gallery)
    files = write_files(opened, out, threads=available_threads())
    if as_json:
        print_json({"gallery": gallery, "num_images": len(opened), "files": files})
        return
    for file in files:
        show(f"{file}: {len(opened):,} images, {file.stat().st_size:,} bytes")
