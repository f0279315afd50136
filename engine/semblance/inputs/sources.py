"""Where pictures come from, whatever the kind of place, as one stream of items: this file finds the kind by the name.

In: a place, and where its labels are. Out: `Item`s in an order that is the same on every machine, not yet decoded. What
is wrong with the place itself is said when it is opened where that can be seen then, and what is wrong with one picture
when its turn comes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from semblance.errors import InputError, SourceError
from semblance.files import sha256_of
from semblance.inputs.archives import TAR_SUFFIXES, TarSource
from semblance.inputs.arrays import ArraySource, IdxSource, NpySource
from semblance.inputs.braces import expand_braces
from semblance.inputs.chosen import Choice, ChosenSource
from semblance.inputs.files import FileSource, FolderSource, find_files
from semblance.inputs.items import IMAGE_SUFFIXES, Item, Source, num_items, what_is_there
from semblance.inputs.joined import JoinedSource
from semblance.inputs.labels import LabelledSource, read_labels
from semblance.inputs.lists import read_csv, read_list, read_standard_input
from semblance.inputs.named import DATA_SETS, open_data_set
from semblance.inputs.names import place_of, uri_of

__all__ = [
    "IMAGE_SUFFIXES",
    "ArraySource",
    "FileSource",
    "FolderSource",
    "IdxSource",
    "Item",
    "JoinedSource",
    "NpySource",
    "Source",
    "num_items",
    "open_source",
]

_LIST_SUFFIXES = (".txt", ".lst")
_PARQUET_SUFFIXES = (".parquet", ".pq")
_IDX_SUFFIXES = (".gz", ".idx", "-ubyte")
_ACCEPTED = (
    "a folder of images, of tar shards or of Parquet files; an image file; a list of paths (.txt, .lst, .csv with a "
    "header, or - for standard input); a tar archive (.tar, .tar.gz, .tgz, .tar.bz2, .tar.xz), or several as "
    "NAME-{000..012}.tar; a Parquet file; an idx file (.idx, .gz, -ubyte); a .npy file; or one of "
    "fashion-mnist, fashion-mnist:train, fashion-mnist:test, drawn-fashion:train, drawn-fashion:test"
)


def open_source(
    spec: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    label_column: str | None = None,
    image_column: str | None = None,
) -> Source:
    """The source that `spec` names.

        a folder              of images, also in folders below; or, where there are none, of tar or Parquet files
        .jpg, .png, ...       one image file
        .txt, .lst, .csv, -   a list of paths, by lines, in a column, or from standard input
        .tar, .tgz, ...       an archive, with webdataset's samples; several as NAME-{000..012}.tar
        .parquet              a table with a column of pictures or of paths; several as for tar
        .idx, -ubyte, .npy    arrays of pictures
        fashion-mnist         the data set, or fashion-mnist:train, fashion-mnist:test
        drawn-fashion:train   what stands in for it offline, or drawn-fashion:test; then :NUMBER for fewer

    Labels are those of the source: folders' names, a column or field called label, .cls files; instead, with
    `label_column`, another column of a CSV or Parquet file or field of a tar's .json, or, with `labels`, those of a CSV
    file of uris and labels. `image_column` is the column with the pictures of a CSV or Parquet file.

    A folder that is itself called fashion-mnist is named by ./fashion-mnist, or by a Path. Raises SourceError for a
    place that is missing, of no known kind, empty or damaged, InputError for an option that such a source has no use
    for.
    """
    if labels is not None and label_column is not None:
        raise InputError(f"labels are in {labels} or in column {label_column!r}, not in both; give one of the two")
    known = read_labels(Path(labels)) if labels is not None else None
    source = _open(spec, label_column, image_column)
    if labels is not None and known is not None:
        if spec == "-":  # whose paths became absolute too
            known = {uri_of(Path(place_of(uri))): label for uri, label in known.items()}
        source = LabelledSource(source, known)
    choice = Choice(image_column, label_column, None if labels is None else sha256_of(Path(labels)))
    return source if choice == Choice() else ChosenSource(source, choice)


def _open(spec: str | os.PathLike[str], label_column: str | None, image_column: str | None) -> Source:
    if not os.fspath(spec):
        raise SourceError(f"the source is an empty name; expected {_ACCEPTED}")  # Path("") would be the current folder
    if isinstance(spec, str) and (spec == "-" or spec.partition(":")[0] in DATA_SETS):
        _refuse(spec, label_column=label_column, image_column=image_column)
        return read_standard_input() if spec == "-" else open_data_set(spec)
    path = Path(spec)
    root, files = _files_of(path)
    names = [file.name.lower() for file in files]
    if names and all(name.endswith(_PARQUET_SUFFIXES) for name in names):
        from semblance.inputs.tables import ParquetSource

        whole = place_of(path)
        return ParquetSource(files, root=root, name=whole, image_column=image_column, label_column=label_column)
    if files == [path] and names[0].endswith(".csv"):
        return read_csv(path, image_column=image_column, label_column=label_column)
    _refuse(spec, image_column=image_column)
    if names and all(name.endswith(TAR_SUFFIXES) for name in names):
        return _open_tars(path, root, files, label_column)
    _refuse(spec, label_column=label_column)
    return _open_plain(path)


def _refuse(spec: object, **options: str | None) -> None:
    for option, value in options.items():
        if value is not None:
            raise InputError(
                f"{spec}: has no columns for {option}={value!r}; leave it out, or give a CSV or Parquet file"
            )


def _open_plain(path: Path) -> Source:
    """A folder of images, or one file that is neither archive nor table."""
    if path.is_dir():
        return FolderSource(path)
    name = path.name.lower()
    if name.endswith(_LIST_SUFFIXES):
        return read_list(path)
    if name.endswith(".npy"):
        return NpySource(path)
    if name.endswith(_IDX_SUFFIXES):
        return IdxSource(path)
    if name.endswith(IMAGE_SUFFIXES):
        return FileSource([place_of(path)], name=place_of(path))
    raise SourceError(f"{path}: a file of no known kind; expected {_ACCEPTED}")


# ------------------------------------------------------------------------------------------------------------------
# Several files


def _files_of(path: Path) -> tuple[Path, list[Path]]:
    """The files that a name stands for, after the folder that their uris count from; none for a folder of images."""
    if path.is_dir():
        return path, _shards_below(path)
    if path.is_file():
        return path.parent, [path]
    if "{" not in str(path):
        raise SourceError(f"{path}: {what_is_there(path)}; expected {_ACCEPTED}")
    before = str(path).partition("{")[0]
    files = [Path(name) for name in expand_braces(str(path))]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise SourceError(f"{path}: {len(missing)} of its {len(files)} files are missing, such as {missing[0]}")
    return Path(os.path.dirname(before)), files


def _shards_below(folder: Path) -> list[Path]:
    """The archives or the tables of a folder that has no images of its own."""
    if next(find_files(folder, IMAGE_SUFFIXES), None) is not None:
        return []
    tars, tables = (sorted(find_files(folder, suffixes)) for suffixes in (TAR_SUFFIXES, _PARQUET_SUFFIXES))
    if tars and tables:
        raise SourceError(
            f"{folder}: tar archives as well as Parquet files, {tars[0][0]} and {tables[0][0]}; give one kind, by a "
            "folder of its own or as NAME-{000..012}.tar"
        )
    return [Path(path) for _, path in tars or tables]


def _open_tars(path: Path, root: Path, files: Sequence[Path], label_column: str | None) -> Source:
    """One archive, or several, whose members then are named after their archive too, as if it were a folder."""
    name = place_of(path)
    if files == [path]:
        source: Source = TarSource(path, label_column=label_column)
    else:
        prefixes = [f"{uri_of(file.relative_to(root))}/" for file in files]
        parts = [
            TarSource(file, prefix=prefix, label_column=label_column)
            for file, prefix in zip(files, prefixes, strict=True)
        ]
        source = JoinedSource(parts, name=name)
    first = next(iter(source), None)  # an archive has no list of what is in it
    if first is None:
        raise SourceError(f"{name}: an archive without images; expected files ending in {' '.join(IMAGE_SUFFIXES)}")
    if label_column is not None and first.label is None:
        raise InputError(f"{first.uri}: its .json has no field {label_column!r}; there are {sorted(first.columns)}")
    return source
