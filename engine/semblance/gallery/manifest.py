"""A gallery's manifest.json: the one file that says what belongs to it, and by that the commit point of every change.

In: a `Manifest`, or a gallery folder. Out: the file, put in place whole, or the checked manifest. A file that the
manifest does not name is not part of the gallery, whatever lies in the folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from semblance.card import ModelCard
from semblance.errors import CardError, GalleryError
from semblance.files import write_whole
from semblance.gallery.index_options import IndexOptions

MANIFEST_NAME = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class TableFile:
    """One Parquet file of a gallery."""

    file: str  # relative to the gallery, with forward slashes
    num_rows: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class IndexFile:
    """One generation of the index, which is derived from the shards and can be built again from them."""

    generation: int
    file: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that a gallery consists of."""

    card: ModelCard  # of the model that made the vectors
    source: str  # where the pictures came from; `open_source` takes it, where it is a place
    options: Mapping[str, Any]  # what the shards depend on beside source and model, and how the index was built
    columns: Mapping[str, str]  # the source's own columns and their types, beyond those that every shard has
    shards: tuple[TableFile, ...]  # in key order
    errors: TableFile
    index: IndexFile

    @property
    def num_images(self) -> int:
        """Rows in all shards."""
        return sum(shard.num_rows for shard in self.shards)

    @property
    def files(self) -> tuple[TableFile | IndexFile, ...]:
        """Every file of the gallery beside the manifest itself."""
        return *self.shards, self.errors, self.index

    def to_json(self) -> str:
        """The manifest as indented JSON, the same for the same content."""
        content = {
            "format": FORMAT,
            "card": json.loads(self.card.to_json()),
            "fingerprint": self.card.fingerprint,
            "source": self.source,
            "options": dict(self.options),
            "columns": dict(self.columns),
            "shards": [asdict(shard) for shard in self.shards],
            "errors": asdict(self.errors),
            "index": asdict(self.index),
            "num_images": self.num_images,
            "num_errors": self.errors.num_rows,
        }
        return json.dumps(content, indent=1, sort_keys=True) + "\n"

    def write(self, gallery: Path) -> None:
        """Put it in place: from this moment on the gallery is what it says."""
        write_whole(gallery / MANIFEST_NAME, self.to_json().encode())

    @classmethod
    def read(cls, gallery: Path) -> Manifest:
        """Read and check the manifest in the folder `gallery`. Raises GalleryError."""
        path = gallery / MANIFEST_NAME
        if not gallery.is_dir():
            raise GalleryError(f"no gallery at {gallery}; make one with `semblance embed SOURCE --out {gallery}`")
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise GalleryError(f"{gallery} is no gallery: it has no {MANIFEST_NAME}; give a gallery's folder") from None
        except (OSError, UnicodeDecodeError) as error:
            raise GalleryError(f"{path} cannot be read ({error}); restore it from a copy, or embed again") from error
        try:
            return cls._parse(json.loads(text))
        except _Format as error:
            raise GalleryError(f"{path}: {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError, CardError) as error:
            said = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise GalleryError(f"{path} is damaged ({said}); restore it from a copy, or embed again") from error

    @classmethod
    def _parse(cls, raw: dict[str, Any]) -> Manifest:
        if raw["format"] != FORMAT:
            raise _Format(f"gallery format {raw['format']!r}, this semblance reads format {FORMAT}; use a matching one")
        manifest = cls(
            card=ModelCard.from_json(json.dumps(raw["card"]), where="its card"),
            source=_typed(raw["source"], str, "source"),
            options=_options(raw["options"]),
            columns=_typed(raw["columns"], dict, "columns"),
            shards=tuple(_table(shard) for shard in _typed(raw["shards"], list, "shards")),
            errors=_table(raw["errors"]),
            index=_index(raw["index"]),
        )
        for name, counted in (
            ("fingerprint", manifest.card.fingerprint),
            ("num_images", manifest.num_images),
            ("num_errors", manifest.errors.num_rows),
        ):
            if raw[name] != counted:
                raise ValueError(f"{name} is {raw[name]!r}, its other fields say {counted!r}")
        return manifest


class _Format(Exception):
    """A manifest of another format: nothing is wrong with it."""


def _table(raw: dict[str, Any]) -> TableFile:
    table = TableFile(**raw)
    _check_file(table.file, table.sha256)
    _count(table.num_rows, "num_rows")
    _count(table.num_bytes, "num_bytes")
    return table


def _index(raw: dict[str, Any]) -> IndexFile:
    index = IndexFile(**raw)
    _check_file(index.file, index.sha256)
    _count(index.generation, "generation")
    _count(index.num_bytes, "num_bytes")
    return index


def _options(raw: dict[str, Any]) -> dict[str, Any]:
    """A build may record more than this; these are what it always records, and what opening a gallery relies on."""
    options: dict[str, Any] = _typed(raw, dict, "options")
    _count(options["shard_rows"], "shard_rows")
    _count(options["batch"], "batch")
    _typed(options["vector_type"], str, "vector_type")
    index = _typed(options["index"], dict, "index of options")
    _typed(index["deterministic"], bool, "deterministic")
    IndexOptions(**{field.name: index[field.name] for field in fields(IndexOptions)})
    return options


def _check_file(name: Any, sha256: Any) -> None:
    """A manifest may come from elsewhere: it must not lead out of its gallery."""
    parts = _typed(name, str, "file").split("/")
    if not all(parts) or ".." in parts or "\\" in name or ":" in name:
        raise ValueError(f"file {name!r} does not lie inside the gallery")
    if len(_typed(sha256, str, "sha256")) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"sha256 of {name} must be 64 hex digits, is {sha256!r}")


def _count(value: Any, name: str) -> None:
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} must be a count, is {value!r}")


def _typed(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, is {value!r}")
    return value
