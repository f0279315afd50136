"""What an export measured, as a table for people.

In: the card and the figures of a written file. Out: a table on stdout, the tolerances beside the figures.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from export.parity import Parity, tolerance_of
from models.weights import Opened
from semblance.card import ModelCard


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
    table = Table(title=f"against TensorFlow, {parity.num_images:,} images: {parity.images}")
    for heading in ("figure", "measured", "tolerance"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    limits = asdict(tolerance_of(opened))
    for figure in ("max_unit_error", "max_relative_error", "min_cosine", "mean_cosine", "overlap_at_10"):
        limit = limits.get(figure)
        bound = "" if limit is None else f"{'<=' if figure.endswith('error') else '>='} {limit:g}"
        table.add_row(figure, f"{getattr(parity, figure):.9g}", bound)
    return table
