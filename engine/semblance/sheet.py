"""Neighbours as a picture: fetches the pictures themselves from the gallery's source and draws a contact sheet.

In: an open gallery, queries and their hits. Out: a PNG. A gallery stores vectors and names, not pixels, so a
picture that has since been moved shows as an empty cell that says so.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance.draw import Cell, contact_sheet, save_png
from semblance.errors import GalleryError, ImageError, InputError, SourceError
from semblance.gallery.gallery import VectorGallery
from semblance.inference.encoder import Image
from semblance.inputs.chosen import Choice
from semblance.inputs.decode import decode
from semblance.inputs.sources import Item
from semblance.search import Gallery, Hit, open_pictures

_MISSING = np.full((64, 64, 3), 235, np.uint8)


def save_sheet(
    path: Path,
    gallery: Gallery,
    queries: Sequence[Image | int],
    hits: Sequence[Sequence[Hit]],
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
) -> None:
    """Write a sheet with one row per query: the query, then its neighbours with label and distance.

    A query is a picture, or the key of one in the gallery. `labels`, where known, are the queries' own: each neighbour
    is then marked right or wrong. Raises ImageError for a query that is no picture, InputError for hits or labels of
    another number than queries and for a key that is not in the gallery.
    """
    for name, given in (("hits", hits), ("labels", labels if labels is not None else queries)):
        if len(given) != len(queries):
            raise InputError(f"{name} must be one for each of the {len(queries)} queries, are {len(given)}")
    keys = [int(query) for query in queries if isinstance(query, (int, np.integer))]
    items = find_items(gallery.vectors, [*keys, *(hit.key for row in hits for hit in row)])
    rows = []
    for which, (query, row) in enumerate(zip(queries, hits, strict=True)):
        label = labels[which] if labels is not None else None
        if isinstance(query, (int, np.integer)):
            shown, problem = _picture(items.get(int(query)))
            cell = Cell(shown, label or _caption(gallery.vectors, int(query)), detail=problem)
        else:
            cell = Cell(decode(_content(query), channels=3), label or _name(query))
        rows.append((cell, [_cell(items.get(hit.key), hit, label) for hit in row]))
    save_png(
        path, contact_sheet(rows, title=title or f"Query and its nearest neighbours in {gallery.vectors.path.name}")
    )


def find_items(gallery: VectorGallery, keys: Iterable[int]) -> dict[int, Item]:
    """The pictures of `keys` as their sources have them, by key; without those that are nowhere to be found any more.

    Raises InputError for a key that is not in the gallery.
    """
    wanted = np.unique(np.fromiter(keys, np.int64))  # [n] ascending
    uris = [gallery.uris[row] for row in gallery.rows_of(wanted)]
    found: dict[int, Item] = {}
    for name in gallery.sources:
        # two sources may give the same uri: a key belongs to the part in whose range it lies
        here = np.zeros(len(wanted), np.bool_)
        parts = [part for part in gallery.manifest.parts if part.source == name]
        for part in parts:
            here |= (wanted >= part.first_key) & (wanted < part.first_key + part.num_items)
        of_uri = {uris[at]: int(wanted[at]) for at in np.flatnonzero(here)}
        if of_uri:
            found.update(_of_source(name, parts[0].choice, of_uri))
    for uri, key in zip(uris, wanted.tolist(), strict=True):
        if key not in found and os.path.isabs(uri):  # as in a list on standard input, which is over
            found[key] = Item(uri, Path(uri))
    return found


def _of_source(name: str, choice: Choice, key_of: dict[str, int]) -> dict[int, Item]:
    """Those of one source, which is read no further than to the last of them."""
    found: dict[int, Item] = {}
    columns = {"image_column": choice.image_column, "label_column": choice.label_column}
    # the source itself is no longer to be opened, or is another, or breaks half way
    with suppress(SourceError, GalleryError, InputError):
        for item in open_pictures(name, **columns):
            if (key := key_of.get(item.uri)) is not None:
                found[key] = item
                if len(found) == len(key_of):
                    break
    return found


def _cell(item: Item | None, hit: Hit, label: str | None) -> Cell:
    shown, problem = _picture(item)
    told = [] if math.isnan(hit.distance) else [f"{hit.distance:.4f}"]
    told = told if hit.inliers is None else [f"{hit.inliers} inliers", *told]
    detail = ", ".join([*told, problem] if problem else told)
    return Cell(shown, hit.label or Path(hit.uri).name, None if label is None else hit.label == label, detail)


def _picture(item: Item | None) -> tuple[NDArray[np.uint8], str]:
    """Its pixels; or a grey square, and why: it could be embedded once, and has been damaged or removed since."""
    with suppress(ImageError):
        if item is not None:
            return decode(item.content, channels=3), ""
    return _MISSING, "picture gone"


def _caption(gallery: VectorGallery, key: int) -> str:
    (row,) = gallery.rows_of(np.array([key]))
    return gallery.labels[row] or Path(gallery.uris[row]).name


def _content(image: Image) -> Path | bytes | NDArray[np.uint8]:
    return Path(image) if isinstance(image, (str, os.PathLike)) else image


def _name(image: Image) -> str:
    return Path(image).name if isinstance(image, (str, os.PathLike)) else "query"
