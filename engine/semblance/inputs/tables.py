"""Pictures in Parquet files: encoded bytes in a column, as Hugging Face's data sets have them, or paths.

In: Parquet files. Out: an `Item` for each row, in the files' own order, read in batches of a few megabytes and only the
columns that an item needs, since a single row group may be larger than memory. Which column is what, is decided and
said when the source is opened (`Layout`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from semblance.errors import SourceError
from semblance.inputs.items import Column, Content, Item, what_is_there
from semblance.inputs.layout import Layout, find_layout
from semblance.inputs.names import UniqueNames, uri_of, valid_unicode

_BATCH_BYTES = 1 << 24
_MAX_BATCH_ROWS = 1024
_READING = {
    "buffer_size": 1 << 20,  # else a whole column of a row group is read at once
    "pre_buffer": False,  # else the same
    "page_checksum_verification": True,
}
_DAMAGES = (pa.ArrowException, OSError, ValueError)


class ParquetSource:
    """The rows of Parquet files, one file after the other.

    A uri is the path that a row gives, else its file below `root` and its number there, "train.parquet#000012"; a path
    that comes again gets "#" and the number of its item. A row without a picture gives an item with no bytes. Paths are
    relative to their file's folder. Labels are in `label_column`, else in the column called label where there is one;
    where Hugging Face's metadata names their classes, they are those names. Other columns of one value a row are
    carried along, dates and decimals as text. Raises SourceError: not Parquet, or no pictures in it; InputError for a
    column that is not there. Iterating raises SourceError where a file is damaged.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        root: Path,
        name: str,
        image_column: str | None = None,
        label_column: str | None = None,
    ) -> None:
        self.name = name
        self._root = root.absolute()  # also where the working directory is another by then
        self._files: list[tuple[Path, Layout]] = []
        self._num_rows = 0
        for path in paths:
            if not path.is_file():
                raise SourceError(f"{path}: {what_is_there(path)}; expected a Parquet file")
            try:
                with pq.ParquetFile(path) as file:
                    schema, num_rows = file.schema_arrow, file.metadata.num_rows
            except _DAMAGES as error:
                raise SourceError(
                    f"{path}: no Parquet file, or a damaged one ({_in_one_line(error)}); copy it or download it again"
                ) from error
            layout = find_layout(path, schema, image_column=image_column, label_column=label_column)
            if self._files and set(layout.columns) != set(self._files[0][1].columns):
                raise SourceError(
                    f"{path}: columns {sorted(layout.columns)}, in {self._files[0][0].name} they are "
                    f"{sorted(self._files[0][1].columns)}; give files of one kind"
                )
            self._files.append((path.absolute(), layout))
            self._num_rows += num_rows

    def __len__(self) -> int:
        return self._num_rows

    def __iter__(self) -> Iterator[Item]:
        unique = UniqueNames()
        for path, layout in self._files:
            file_uri = uri_of(path.relative_to(self._root))
            row = 0
            for batch in read_batches(path, layout.needed):
                try:
                    rows = list(_rows(batch, layout, path.parent))
                except _DAMAGES as error:
                    raise _damaged(path, row, error) from error
                for uri, content, label, columns in rows:
                    name = f"{file_uri}#{row:06d}" if uri is None else valid_unicode(uri)
                    yield Item(unique.name(name), content, label, columns)
                    row += 1


def read_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """All rows of `columns` in batches of about 16 MB; of a damaged file, those before the damage.

    Raises SourceError, which names the file and the row, where it cannot be read on.
    """
    row = 0
    try:
        with pq.ParquetFile(path, **_READING) as file:
            for group in range(file.metadata.num_row_groups):
                start = row
                try:
                    for batch in _read_group(file, group, columns, _batch_rows(file.metadata.row_group(group))):
                        yield batch
                        row += batch.num_rows
                except _DAMAGES:  # once more, row by row, for those that stand before the damage
                    for at, batch in enumerate(_read_group(file, group, columns, 1), start=start):
                        if at >= row:
                            yield batch
                            row += 1
    except _DAMAGES as error:
        raise _damaged(path, row, error) from error


def _damaged(path: Path, row: int, error: Exception) -> SourceError:
    return SourceError(f"{path}: damaged at row {row:,} ({_in_one_line(error)}); copy it or download it again")


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _read_group(file: pq.ParquetFile, group: int, columns: Sequence[str], num_rows: int) -> Iterator[pa.RecordBatch]:
    yield from file.iter_batches(batch_size=num_rows, row_groups=[group], columns=list(columns), use_threads=False)


def _batch_rows(group: pq.RowGroupMetaData) -> int:
    """By all columns, though some are not read: pyarrow aborts the process where a damaged footer is asked for each."""
    return int(max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES * max(1, group.num_rows) // max(1, group.total_byte_size))))


def _rows(
    batch: pa.RecordBatch, layout: Layout, folder: Path
) -> Iterator[tuple[str | None, Content, str | None, dict[str, Column]]]:
    """uri, content, label and carried columns of each row."""
    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
    uris, contents = _pictures(arrays, layout, folder)
    labels = [None] * len(batch) if layout.label is None else _values(arrays[layout.label], layout, layout.label)
    carried = {name: _values(arrays[column], layout, column) for name, column in layout.columns.items()}
    for row, (uri, content, label) in enumerate(zip(uris, contents, labels, strict=True)):
        columns = {name: values[row] for name, values in carried.items()}
        yield uri, content, None if label is None else str(label), columns


def _pictures(
    arrays: dict[str, pa.Array], layout: Layout, folder: Path
) -> tuple[Sequence[str | None], Sequence[Content]]:
    """uris, where the rows give any, and contents."""
    image = arrays[layout.image]
    if layout.kind == "struct":
        fields = dict(zip([field.name for field in image.type], image.flatten(), strict=True))
        encoded = fields["bytes"].to_pylist()
        paths = _texts(fields["path"]) if "path" in fields else [None] * len(image)
        contents = [_content(content, path, folder) for content, path in zip(encoded, paths, strict=True)]
        return [path or None for path in paths], contents
    if layout.kind == "path":
        paths = _texts(image)
        return [path or None for path in paths], [_content(None, path, folder) for path in paths]
    uris = [None] * len(image) if layout.uri is None else [uri or None for uri in _texts(arrays[layout.uri])]
    return uris, [_content(content, None, folder) for content in image.to_pylist()]


def _content(encoded: bytes | None, path: str | None, folder: Path) -> Content:
    if encoded is not None or not path:
        return encoded or b""
    return folder / path


def _values(array: pa.Array, layout: Layout, column: str) -> list[Column]:
    """The values of a column as Python has them; those of a class label as its names, of which -1 has none."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind: Any = array.type
    if column in layout.classes and pa.types.is_integer(kind):
        classes = layout.classes[column]
        return [None if at is None or not 0 <= at < len(classes) else classes[at] for at in array.to_pylist()]
    if pa.types.is_floating(kind):
        array = array.cast(pa.float64())  # half floats too
    elif not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        return [*_texts(array.cast(pa.large_string()))]
    values: list[Column] = array.to_pylist()
    return values


def _texts(array: pa.Array) -> list[str | None]:
    """Strings, also where a writer put bytes into them that are no Unicode."""
    try:
        texts: list[str | None] = array.to_pylist()
    except UnicodeDecodeError:
        encoded = array.cast(pa.large_binary()).to_pylist()
        texts = [None if text is None else text.decode("utf-8", "backslashreplace") for text in encoded]
    return texts
