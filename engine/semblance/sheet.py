"""Neighbours as a picture: fetches the pictures themselves from the gallery's source and draws a contact sheet.

In: an open gallery, query pictures and their hits. Out: a PNG. A gallery stores vectors and names, not pixels, so a
picture that has since been moved shows as an empty cell that says so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance.draw import Cell, contact_sheet, save_png
from semblance.errors import ImageError, InputError, SourceError
from semblance.inference.encoder import Image
from semblance.inputs.decode import decode
from semblance.inputs.sources import Item, open_source
from semblance.search import Gallery, Hit

_MISSING = np.full((64, 64, 3), 235, np.uint8)


def save_sheet(
    path: Path,
    gallery: Gallery,
    images: Sequence[Image],
    hits: Sequence[Sequence[Hit]],
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
) -> None:
    """Write a sheet with one row per query: the query, then its neighbours with label and distance.

    `labels`, where known, are the queries' own: each neighbour is then marked right or wrong. Raises ImageError for a
    query that is no picture, InputError for hits or labels of another number than images.
    """
    for name, given in (("hits", hits), ("labels", labels if labels is not None else images)):
        if len(given) != len(images):
            raise InputError(f"{name} must be one for each of the {len(images)} images, are {len(given)}")
    items = _find_items(gallery, {hit.uri for row in hits for hit in row})
    rows = []
    for which, (image, row) in enumerate(zip(images, hits, strict=True)):
        label = labels[which] if labels is not None else None
        query = Cell(decode(_content(image), channels=3), label or _name(image))
        rows.append((query, [_cell(items.get(hit.uri), hit, label) for hit in row]))
    save_png(
        path, contact_sheet(rows, title=title or f"Query and its nearest neighbours in {gallery.vectors.path.name}")
    )


def _cell(item: Item | None, hit: Hit, label: str | None) -> Cell:
    caption, detail = hit.label or Path(hit.uri).name, f"{hit.distance:.4f}"
    is_right = None if label is None else hit.label == label
    try:
        if item is not None:
            return Cell(decode(item.content, channels=3), caption, is_right, detail)
    except ImageError:
        pass  # it could be embedded once, and has been damaged or removed since
    return Cell(_MISSING, caption, is_right, f"{detail}, picture gone")


def _find_items(gallery: Gallery, uris: set[str]) -> dict[str, Item]:
    """The source's items of those names; none where the source itself is no longer to be opened."""
    try:
        return {item.uri: item for item in open_source(gallery.vectors.source) if item.uri in uris}
    except SourceError:
        return {}


def _content(image: Image) -> Path | bytes | NDArray[np.uint8]:
    return Path(image) if isinstance(image, (str, os.PathLike)) else image


def _name(image: Image) -> str:
    return Path(image).name if isinstance(image, (str, os.PathLike)) else "query"
