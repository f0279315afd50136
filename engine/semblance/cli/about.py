"""Commands that tell what there is: `demo`, `models`, `info`."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from semblance.cli.console import OUT, GalleryPath, Json, facts_table, print_json, progress_bar, say, show

if TYPE_CHECKING:
    from semblance.card import ModelCard
    from semblance.gallery.facts import Facts


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the gallery and the pictures.")] = Path("semblance-demo"),
    stand_in: Annotated[bool, typer.Option(help="Use the drawn stand-in instead of Fashion-MNIST.")] = False,
    as_json: Json = False,
) -> None:
    """Embed, index, search and score 70,000 images, and picture the neighbours."""
    from semblance.demo import run_demo

    with progress_bar("images") as progress:
        result = run_demo(out, stand_in=stand_in, say=say, progress=progress)
    fields = asdict(result)
    if as_json:
        print_json(fields)
        return
    show(f"{result.data}: {result.num_queries:,} queries against {result.num_gallery:,} images, {result.model}")
    table = Table("figure")
    table.add_column("value", justify="right")
    for name, value, form in _DEMO_ROWS:
        table.add_row(name, form.format(fields[value]))
    OUT.print(table)
    query = result.queries[0]
    program = "semblance" if shutil.which("semblance") else sys.argv[0]  # not on the path where nothing was activated
    show(f"Contact sheet: {result.sheet}\nTry next:")
    for command in (
        f"{program} search {result.gallery} {query} -k 5 --sheet found.png",
        f"{program} info {result.gallery}",
        f"{program} embed YOUR_FOLDER --model siamese --out my-gallery",
    ):
        show(f"  {command}")


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


def models(as_json: Json = False) -> None:
    """List the models that can be named: those shipped and those exported into the cache."""
    from semblance.inference.models import list_models, zoo_folder

    found = list_models()
    if as_json:
        cards = [json.loads(entry.card.to_json()) if entry.card else {} for entry in found]
        places = [{"path": each.path, "problem": each.problem, "name": each.name} for each in found]
        print_json([{**card, **place} for place, card in zip(places, cards, strict=True)])
        return
    table = Table()
    table.add_column("name", no_wrap=True, min_width=max((len(entry.name) for entry in found), default=1))  # is typed
    for heading in ("eats", "gives", "precision", "space", "from"):
        table.add_column(heading, min_width=len(heading))
    cards = [entry.card for entry in found if entry.card]
    has_variants = any(card.precision != "fp32" for card in cards)
    if has_variants:
        table.add_column("P@10 lost")
    for entry in found:
        origin = "shipped" if entry.path.parent == zoo_folder() else "cache"
        card = entry.card
        if card is None:
            say(f"{entry.problem}")
            continue
        eats = f"{card.height}x{card.width} {'grey' if card.channels == 1 else 'RGB'}"
        facts = [entry.name, eats, f"{card.dimension:,}-d {card.metric}", card.precision, card.fingerprint[:8], origin]
        table.add_row(*facts, *([_lost(card)] if has_variants else []))
    OUT.print(table)


def _lost(card: ModelCard) -> str:
    """What a file of lower precision no longer finds of what the fp32 file finds."""
    lost = card.gate.get("lost_p_at_10")
    if card.precision == "fp32":
        return ""
    if not isinstance(lost, float):
        return "not measured"
    told = f"{lost:.4f}" + ("" if card.gate.get("passed") is True else ", too many")
    return told + (", which proves little" if card.gate.get("warning") else "")


def info(gallery: GalleryPath, as_json: Json = False) -> None:
    """Say what is in a gallery, finished or not: images, sources, model, embedding space, files."""
    from semblance.gallery.facts import read_facts

    facts = read_facts(gallery)
    if as_json:
        print_json({"gallery": gallery, **asdict(facts)})
    else:
        OUT.print(facts_table(str(gallery), list(_told(facts))))


def _told(facts: Facts) -> list[tuple[str, str]]:
    last = facts.sources[-1]
    unfinished = f"unfinished: {last.num_items:,} pictures of {last.source} are taken"
    index = "none"
    if facts.index_generation is not None:
        index = f"generation {facts.index_generation}, {facts.index_bytes:,} bytes"
        if facts.num_unindexed:
            index += f", {facts.num_unindexed:,} younger images beside it"
    return [
        ("state", "complete" if facts.is_complete else unfinished),
        ("images", f"{facts.images:,}"),
        ("unusable", f"{facts.unusable:,}"),
        ("removed", f"{facts.removed:,}"),
        *((f"source {number}", f"{part.source} ({part.num_items:,} pictures from key {part.first_key:,})")
          for number, part in enumerate(facts.sources, 1)),
        ("model", f"{facts.model}, {facts.precision}"),
        ("vectors", f"{facts.dimension:,}-d {facts.vector_type}, compared by {facts.metric}"),
        ("fingerprint", facts.fingerprint),
        ("columns", ", ".join(f"{name} {kind}" for name, kind in facts.columns.items()) or "none of its own"),
        ("keypoints", _keypoints_told(facts)),
        ("index", index),
        ("shards", f"{facts.shards:,}"),
        ("bytes", f"{facts.bytes:,}"),
    ]  # fmt: skip


def _keypoints_told(facts: Facts) -> str:
    if facts.sift is None:
        return "none are kept"
    how = ", ".join(f"{name} {value}" for name, value in facts.sift.items())
    return f"{facts.keypoints:,} of SIFT ({how})"
