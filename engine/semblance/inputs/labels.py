"""Labels from a CSV file of their own, for a source that has none or others.

In: a source, and labels by uri. Out: the same items in the same order, labelled from there and from nowhere else: an
item that is not in the file has no label, since a folder's name among labels of another kind would only mislead.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from semblance.errors import SourceError
from semblance.inputs.items import Item, Source, num_items, what_is_there
from semblance.inputs.names import valid_unicode

_log = logging.getLogger(__name__)


class LabelledSource:
    """`source` with the labels of a mapping of uris; what that says of uris that never come is logged, and left."""

    def __init__(self, source: Source, labels: Mapping[str, str | None]) -> None:
        self.name = source.name
        self._source = source
        self._labels = labels

    def __len__(self) -> int:
        if (number := num_items(self._source)) is None:
            raise TypeError(f"{self.name}: a stream, whose number of items is not known")
        return number

    def __iter__(self) -> Iterator[Item]:
        num_found = 0
        for item in self._source:
            num_found += item.uri in self._labels
            yield replace(item, label=self._labels.get(item.uri))
        if num_found < len(self._labels):
            _log.warning(
                "%d of %d labels are for no item of %s", len(self._labels) - num_found, len(self._labels), self.name
            )


def read_labels(path: Path) -> dict[str, str | None]:
    """Labels by uri from a CSV file: columns uri and label, among others or not, or just two without a header.

    An empty label is None. Raises SourceError: no such file, not of that form, or two labels for one uri.
    """
    if not path.is_file():
        raise SourceError(f"{path}: {what_is_there(path)}; expected a CSV file of uris and labels")
    labels: dict[str, str | None] = {}
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for uri, label in _pairs(path, reader):
                if labels.setdefault(uri, label) != label:
                    raise SourceError(
                        f"{path}: line {reader.line_num} labels {uri} {label!r}, an earlier one {labels[uri]!r}; "
                        "keep one of them"
                    )
        except (csv.Error, OSError) as error:
            raise SourceError(f"{path}: line {reader.line_num} is no CSV ({error}); expected uri,label") from error
    return labels


def _pairs(path: Path, reader: Iterable[list[str]]) -> Iterator[tuple[str, str | None]]:
    uri_at, label_at, length = 0, 1, 2
    for number, row in enumerate(row for row in reader if row):
        if number == 0 and {"uri", "label"} <= set(row):
            uri_at, label_at, length = row.index("uri"), row.index("label"), len(row)
            continue
        if len(row) != length:
            raise SourceError(
                f"{path}: a line with {len(row)} fields, {row}; expected a header with uri and label, or uri,label"
            )
        yield valid_unicode(row[uri_at]), valid_unicode(row[label_at]) or None
