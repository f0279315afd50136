"""A gallery as a source: the pictures it was made of, to be embedded again, by another model say.

In: a gallery's folder. Out: the items of its sources that are in it now, with the labels and columns that it has, in
the order of its sources. A gallery holds no pictures, so the places they came from have to be there still; one that is
gone becomes an item that cannot be read, and so an error row of the new gallery instead of a silent gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from semblance.errors import SourceError
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.manifest import Part
from semblance.inputs.sources import Item, Source, open_source


class GallerySource:
    """The pictures of the gallery at `path`. Raises GalleryError where it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._gallery = VectorGallery.open(self.path)

    @property
    def name(self) -> str:
        return str(self.path.absolute())

    def __len__(self) -> int:
        return len(self._gallery)

    def __iter__(self) -> Iterator[Item]:
        sources = self._gallery.sources
        for source in sources:
            # uris are unique within a source only
            prefix = f"{source}/" if len(sources) > 1 else ""
            yield from self._items(source, prefix)

    def _items(self, source: str, prefix: str) -> Iterator[Item]:
        """What is in the gallery of one source, as the source has it now."""
        stored = self._stored([part for part in self._gallery.manifest.parts if part.source == source])
        for item in _opened(source):
            if (known := stored.pop(item.uri, None)) is not None:
                yield Item(prefix + item.uri, item.content, known.label, known.columns)
        for uri, known in stored.items():
            yield Item(prefix + uri, Path(source) / uri, known.label, known.columns)

    def _stored(self, parts: list[Part]) -> dict[str, Item]:
        """Uri to label and columns of the pictures that `parts` gave, in the order of their rows."""
        gallery, columns = self._gallery, list(self._gallery.manifest.columns or {})
        keys = gallery.keys
        is_in = np.zeros(len(keys), np.bool_)
        for part in parts:
            is_in |= (keys >= part.first_key) & (keys < part.first_key + part.num_items)
        rows = np.flatnonzero(gallery.alive)[is_in]
        table = gallery.all_rows.columns(["uri", "label", *columns]).take(rows)
        return {
            row["uri"]: Item(row["uri"], b"", row["label"], {name: row[name] for name in columns})
            for row in table.to_pylist()
        }


def _opened(source: str) -> Source:
    try:
        return open_source(source)
    except SourceError as error:
        raise SourceError(f"{error}; the gallery's pictures came from there, put them back first") from error
