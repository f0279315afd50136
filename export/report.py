"""What an export measured, as a table for people.

In: the card and the figures of a written file. Out: a table on stdout, the tolerances beside the figures.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from semblance.card import ModelCard

if TYPE_CHECKING:  # a variant's report needs neither TensorFlow nor what opens originals
    from export.parity import Parity
    from export.variant import Exported
    from models.weights import Opened


def show(path: Path, card: ModelCard, parity: Parity, opened: Opened) -> None:
    """Print where the file lies, its card in short, and its parity."""
    megabytes = path.stat().st_size / 1e6
    size = f"{card.height}x{card.width}x{card.channels}"
    console = Console(soft_wrap=True)
    console.print(f"{path}: {card.name}, {size} uint8 -> {card.dimension}-d {card.metric}, {megabytes:.1f} MB")
    console.print(f"weights: {card.source}; space {card.fingerprint[:12]}", highlight=False)
    console.print(parity_table(parity, opened))


def parity_table(parity: Parity, opened: Opened) -> Table:
    """Each figure with what it may be at most or must be at least."""
    from export.parity import tolerance_of

    table = Table(title=f"against TensorFlow, {parity.num_images:,} images: {parity.images}")
    for heading in ("figure", "measured", "tolerance"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    limits = asdict(tolerance_of(opened))
    for figure in ("max_unit_error", "max_relative_error", "min_cosine", "mean_cosine", "overlap_at_10"):
        limit = limits.get(figure)
        bound = "" if limit is None else f"{'<=' if figure.endswith('error') else '>='} {limit:g}"
        table.add_row(figure, f"{getattr(parity, figure):.9g}", bound)
    return table


def show_variant(exported: Exported) -> None:
    """Print where a variant lies, or that it was not written, how it was made, and what it was judged by."""
    card, gate = exported.card, exported.gate
    console = Console(soft_wrap=True)
    megabytes = exported.num_bytes / 1e6
    state = f"{megabytes:.2f} MB" if exported.is_written else "NOT WRITTEN"
    console.print(f"{exported.path}: {card.name}, {card.precision}, {state}; space {card.fingerprint[:12]}")
    console.print(f"made as: {card.gate['method']}", highlight=False)
    if "layers_in_float" in card.gate:
        left = card.gate["layers_in_float"] or "none"
        console.print(f"left in float: {left}, of {card.gate['num_layers']} layers with weights", highlight=False)
    console.print(f"judged with: {gate.backend}", highlight=False)
    console.print(f"timed with: {exported.runs_as}, {exported.batch} images at a time", highlight=False)
    console.print(variant_table(exported))
    if gate.warning:
        console.print(f"[bold]warning:[/bold] {gate.warning}", highlight=False)
    if card.gate["forced"]:
        console.print("[bold]written by --force although it does not pass; its card says so[/bold]")


def variant_table(exported: Exported) -> Table:
    """The figures of both files, side by side."""
    from export.gate import MOST_LOST

    gate, precision = exported.gate, exported.card.precision
    table = Table(title=f"against fp32, {gate.images}")
    for heading in ("figure", "fp32", precision, "tolerance"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    table.add_row("P@1", f"{gate.p_at_1_fp32:.4f}", f"{gate.p_at_1:.4f}", "")
    table.add_row("P@10", f"{gate.p_at_10_fp32:.4f}", f"{gate.p_at_10:.4f}", "")
    table.add_row("P@10 by chance", f"{gate.chance:.4f}", "", "")
    # five places: of 10,000 images and ten neighbours these are all, so that nothing over the bound looks like it
    table.add_row("P@10 lost", "", f"{round(gate.lost_p_at_10, 5) + 0.0:.5f}", f"<= {MOST_LOST:g}")
    table.add_row("standard error of it", "", f"{gate.lost_error:.5f}", "")
    table.add_row("same neighbours of 10", "", f"{gate.overlap_at_10:.4f}", "")
    table.add_row("mean cosine", "", f"{gate.mean_cosine:.6f}", "")
    table.add_row("smallest cosine", "", f"{gate.min_cosine:.6f}", "")
    table.add_row("bytes", f"{exported.num_bytes_fp32:,}", f"{exported.num_bytes:,}", "")
    table.add_row("images/s, relative, here", "1", f"{exported.times_faster:.2f}", "")
    return table
