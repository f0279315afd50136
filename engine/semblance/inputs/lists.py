"""Pictures that a list names: a text file of paths, a CSV file with a column of them, or standard input.

In: a list. Out: an `Item` for each of its lines, in the list's own order. The list is read when the source is opened,
so that a line that cannot be meant is told by its number; the pictures are read, and may fail, only when their turn
comes.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from semblance.errors import InputError, SourceError
from semblance.inputs.items import Column, Item, what_is_there
from semblance.inputs.names import PATH_COLUMNS, carried, place_of, uri_of, valid_unicode

STANDARD_INPUT = "standard input"  # the name of every list from there: another one each time

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")  # 007 is a name, and what 64 bits do not hold as well
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_TRUTH = {"true": True, "false": False}


class ListSource:
    """Paths in the order given, relative to `root`; each uri is the path as the list has it.

    `lines` are those they stand on. Raises SourceError where a path is given twice, or where there are none.
    """

    def __init__(
        self,
        paths: Sequence[str],
        lines: Sequence[int],
        *,
        root: Path,
        name: str,
        labels: Sequence[str | None] | None = None,
        columns: Mapping[str, Sequence[Column]] | None = None,
    ) -> None:
        if not paths:
            raise SourceError(f"{name}: names no pictures; expected their paths, one on each line")
        self.name = name
        self._root = root.absolute()  # also where the working directory is another by then
        self._paths = paths
        self._labels = labels
        self._columns = columns or {}
        line_of: dict[str, int] = {}
        for path, line in zip(paths, lines, strict=True):
            if (uri := uri_of(Path(path))) in line_of:
                raise SourceError(f"{name}: line {line} names {uri} again, after line {line_of[uri]}; take one out")
            line_of[uri] = line

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Item]:
        for row, path in enumerate(self._paths):
            columns = {name: values[row] for name, values in self._columns.items()}
            label = None if self._labels is None else self._labels[row]
            yield Item(uri_of(Path(path)), self._root / path, label, columns)


def read_list(path: Path) -> ListSource:
    """The source of a text file: one path on each line, relative to the file's folder.

    Blank lines, and comments, which begin with #, are left out; a picture whose name begins so is written ./#name.
    Where the file has zero bytes, as `find -print0` writes them, they end the paths instead. Raises SourceError.
    """
    paths, lines = _split(_read(path))
    return ListSource(paths, lines, root=path.parent, name=place_of(path))


def read_standard_input() -> ListSource:
    """The same for standard input, which is read once and kept; paths are relative to the working directory.

    Their uris are absolute, so that lists from several folders may follow one another.
    """
    paths, lines = _split(sys.stdin.buffer.read())
    return ListSource([place_of(path) for path in paths], lines, root=Path.cwd(), name=STANDARD_INPUT)


def read_csv(path: Path, *, image_column: str | None = None, label_column: str | None = None) -> ListSource:
    """The source of a CSV file with a header: a column of paths, relative to the file's folder.

    That column is `image_column`, else the first in PATH_COLUMNS that there is. Labels are in `label_column`, else in
    the column called label where there is one. The others are carried along, as whole numbers, numbers or true/false
    where all their values are, with None for an empty field. Raises InputError for a column that is not there,
    SourceError: no column of paths, a line of another length, a path given twice.
    """
    header, rows, lines = _read_rows(path)
    for name in (image_column, label_column):
        if name is not None and name not in header:
            raise InputError(f"{path}: no column {name!r}; there are {header}")
    paths = _path_column(path, header) if image_column is None else header.index(image_column)
    labels = header.index(label_column or "label") if (label_column or "label") in header else None
    for row, line in zip(rows, lines, strict=True):
        if not row[paths]:
            raise SourceError(f"{path}: line {line} has nothing in column {header[paths]!r}; expected a path")
    columns = carried({valid_unicode(name): at for at, name in enumerate(header) if at not in (paths, labels)})
    return ListSource(
        [row[paths] for row in rows],
        lines,
        root=path.parent,
        name=place_of(path),
        labels=None if labels is None else [valid_unicode(row[labels]) or None for row in rows],
        columns={name: _typed([row[at] for row in rows]) for name, at in columns.items()},
    )


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise SourceError(f"{path}: {what_is_there(path)}; expected a list of paths")
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); make it readable") from error


def _split(content: bytes) -> tuple[list[str], list[int]]:
    """The paths of a list, and the lines that they stand on."""
    text = content.decode("utf-8-sig", "surrogateescape")  # file names need not be Unicode
    paths: list[str] = []
    lines: list[int] = []
    for line, path in enumerate(text.split("\0") if "\0" in text else re.split(r"\r?\n", text), start=1):
        if path.strip() and not path.startswith("#"):
            paths.append(path)
            lines.append(line)
    return paths, lines


# ------------------------------------------------------------------------------------------------------------------
# CSV


def _read_rows(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """The header, the rows and the lines that these end on."""
    text = _read(path).decode("utf-8-sig", "surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        numbered = [(row, reader.line_num) for row in reader if row]
    except csv.Error as error:
        raise SourceError(f"{path}: line {reader.line_num} is no CSV ({error}); expected commas and quotes") from error
    if len(set(header)) < len(header):
        raise SourceError(f"{path}: columns {header}; expected a name of its own for each")
    for row, line in numbered:
        if len(row) != len(header):
            raise SourceError(f"{path}: line {line} has {len(row)} fields; expected {len(header)}, as in the header")
    return header, [row for row, _ in numbered], [line for _, line in numbered]


def _path_column(path: Path, header: list[str]) -> int:
    lower = [name.lower() for name in header]
    for name in PATH_COLUMNS:
        if name in lower:
            return lower.index(name)
    raise SourceError(f"{path}: no column of paths among {header}; expected a header with one of {list(PATH_COLUMNS)}")


def _typed(values: list[str]) -> list[Column]:
    """Numbers or truth values where all that is there are such; None where there is nothing."""
    given = [value for value in values if value]
    kinds = ((_INTEGER.fullmatch, int), (_NUMBER.fullmatch, float), (_TRUTH.get, lambda value: _TRUTH[value]))
    for fits, convert in kinds:
        if given and all(fits(value) is not None for value in given):
            return [convert(value) if value else None for value in values]
    return [valid_unicode(value) if value else None for value in values]
