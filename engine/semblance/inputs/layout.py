"""Which column of a Parquet file has the pictures, which their names and labels, and what is carried along.

In: a schema. Out: a `Layout`. Nothing is guessed among several: then the columns are listed, and the caller says which.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from semblance.errors import InputError, SourceError
from semblance.inputs.names import PATH_COLUMNS, carried, valid_unicode

Kind = Literal["bytes", "struct", "path"]


@dataclass(frozen=True, slots=True)
class Layout:
    """What the columns of one file are."""

    image: str
    kind: Kind  # of that column: encoded pictures, {bytes, path} as Hugging Face has it, or paths
    uri: str | None  # the column that names encoded pictures
    label: str | None
    columns: dict[str, str]  # those carried along: the name they get, and that in the file
    classes: dict[str, list[str]]  # names of the classes that a column of integers numbers

    @property
    def needed(self) -> list[str]:
        """The columns to read."""
        named = [name for name in (self.image, self.uri, self.label) if name is not None]
        return [*dict.fromkeys([*named, *self.columns.values()])]


def find_layout(path: Path, schema: pa.Schema, *, image_column: str | None, label_column: str | None) -> Layout:
    """The layout of the Parquet file at `path`.

    The pictures are in `image_column`, else in the one that Hugging Face's metadata calls an image, else in the only
    column of {bytes, path}, else in the only one of bytes, else in one of paths by its name. Raises InputError for a
    column that is not there or cannot be that, SourceError where none or several could be.
    """
    if len(set(schema.names)) < len(schema.names):
        raise SourceError(f"{path}: columns {schema.names}; expected a name of its own for each")
    for name in (image_column, label_column):
        if name is not None and name not in schema.names:
            raise InputError(f"{path}: no column {name!r}; there are {schema.names}")
    features = _features(schema)
    image = image_column or _image_column(path, schema, features)
    kind = _kind(schema.field(image).type)
    if kind is None:
        raise InputError(f"{path}: column {image!r} is {schema.field(image).type}; expected bytes, or paths as strings")
    label = label_column or ("label" if "label" in schema.names else None)
    if label is not None and not _is_scalar(schema.field(label).type):
        if label_column is not None:
            raise InputError(f"{path}: column {label!r} is {schema.field(label).type}; a label is one value")
        label = None
    uri = None
    if kind == "bytes":
        lower = {name.lower(): name for name in schema.names if _is_string(schema.field(name).type)}
        uri = next((lower[name] for name in PATH_COLUMNS if name in lower), None)
    others = [name for name in schema.names if name not in (image, uri, label) and _is_scalar(schema.field(name).type)]
    classes = {
        name: [valid_unicode(str(label)) for label in feature["names"]]
        for name, feature in features.items()
        if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }
    return Layout(image, kind, uri, label, carried({name: name for name in others}), classes)


def _image_column(path: Path, schema: pa.Schema, features: dict[str, dict[str, Any]]) -> str:
    kinds = {name: _kind(schema.field(name).type) for name in schema.names}
    candidates = [name for name in schema.names if features.get(name, {}).get("_type") == "Image" and kinds[name]]
    for kind in ("struct", "bytes"):
        candidates = candidates or [name for name in schema.names if kinds[name] == kind]
    lower = {name.lower(): name for name in schema.names if kinds[name] == "path"}
    candidates = candidates or [lower[name] for name in PATH_COLUMNS if name in lower][:1]
    if not candidates:
        raise SourceError(
            f"{path}: no column of pictures among {schema.names}; expected one of bytes, of {{bytes, path}}, or of "
            f"paths, called one of {list(PATH_COLUMNS)}"
        )
    if len(candidates) > 1:
        raise SourceError(f"{path}: columns {candidates} all hold pictures; say which: image_column={candidates[0]!r}")
    return str(candidates[0])


def _kind(type_: Any) -> Kind | None:
    if pa.types.is_struct(type_):
        fields = {field.name: field.type for field in type_}
        has_bytes = "bytes" in fields and _is_binary(fields["bytes"])
        return "struct" if has_bytes and _is_string(fields.get("path", pa.string())) else None
    if _is_binary(type_):
        return "bytes"
    return "path" if _is_string(type_) else None


def _is_binary(type_: Any) -> bool:
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_))


def _is_string(type_: Any) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _is_scalar(type_: Any) -> bool:
    if pa.types.is_dictionary(type_):
        return _is_scalar(type_.value_type)
    is_text = _is_string(type_) or pa.types.is_temporal(type_) or pa.types.is_decimal(type_)
    is_duration = pa.types.is_duration(type_) or pa.types.is_interval(type_)
    is_number = pa.types.is_boolean(type_) or pa.types.is_integer(type_) or pa.types.is_floating(type_)
    return bool(is_number or pa.types.is_null(type_) or (is_text and not is_duration))


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What Hugging Face's `datasets` writes of the columns into a file's metadata; nothing where that is odd."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
