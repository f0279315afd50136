"""A gallery as a source: the pictures it was made of, to be embedded again, by another model say.

In: a gallery's folder. Out: the items of its sources that are in it now, with the labels and columns that it has, in
the order of its sources; ones that a program put in by itself come last, their uri taken for a path, as those of a list
from standard input are. A gallery holds no pictures, so the places they came from have to be there still; one that is
gone becomes an item that cannot be read, and so an error row of the new gallery instead of a silent gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from semblance.errors import InputError, SourceError
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.manifest import Part
from semblance.inputs.chosen import Choice
from semblance.inputs.lists import STANDARD_INPUT
from semblance.inputs.names import UniqueNames, place_of
from semblance.inputs.sources import Item, Source, open_source


class GallerySource:
    """The pictures of the gallery at `path`. Raises GalleryError where it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.name = place_of(self.path)
        self._gallery = VectorGallery.open(self.path)

    def __len__(self) -> int:
        return len(self._gallery)

    def __iter__(self) -> Iterator[Item]:
        sources, parts, names = self._gallery.sources, self._gallery.manifest.parts, UniqueNames()
        for source in sources:
            # uris are unique within a source only, but for absolute ones
            prefix = f"{source}/" if len(sources) > 1 and source != STANDARD_INPUT else ""
            for item in self._items(source, [part for part in parts if part.source == source]):
                yield replace(item, uri=names.name(prefix + item.uri))
        for own in self._stored(parts, inside=False):
            yield replace(own, uri=names.name(own.uri), content=Path(own.uri))

    def _items(self, source: str, parts: Sequence[Part]) -> Iterator[Item]:
        """What is in the gallery of one source, as the source has it now, and at last what it has no longer."""
        stored = self._stored(parts)
        if source == STANDARD_INPUT:  # that list is over
            yield from (replace(known, content=Path(known.uri)) for known in stored)
            return
        by_uri: dict[str, list[Item]] = {}
        for known in stored:
            by_uri.setdefault(known.uri, []).append(known)
        for item in _opened(source, parts[0].choice):
            if item.uri in by_uri:
                yield replace(by_uri[item.uri].pop(0), content=item.content)
                if not by_uri[item.uri]:
                    del by_uri[item.uri]
        for known in (known for left in by_uri.values() for known in left):
            yield replace(known, content=Path(source) / known.uri)

    def _stored(self, parts: Sequence[Part], *, inside: bool = True) -> list[Item]:
        """Uri, label and columns of the pictures that `parts` gave, in the order of their rows; or of all others.

        A program may have put in pictures of its own: under keys that no source had, or twice under one uri.
        """
        gallery, columns = self._gallery, list(self._gallery.manifest.columns or {})
        if not len(gallery):
            return []
        keys = gallery.keys
        is_in = np.zeros(len(keys), np.bool_)
        for part in parts:
            is_in |= (keys >= part.first_key) & (keys < part.first_key + part.num_items)
        rows = np.flatnonzero(gallery.alive)[is_in == inside]
        table = gallery.all_rows.columns(["uri", "label", *columns]).take(rows)
        return [Item(row["uri"], b"", row["label"], {name: row[name] for name in columns}) for row in table.to_pylist()]


def _opened(source: str, choice: Choice) -> Source:
    try:
        return open_source(source, image_column=choice.image_column, label_column=choice.label_column)
    except (SourceError, InputError) as error:
        raise SourceError(f"{error}; the gallery's pictures came from there, put them back first") from error
