"""A gallery's manifest.json: the one file that says what belongs to it, and by that the commit point of every change.

In: a `Manifest`, or a gallery folder. Out: the file, put in place whole, or the checked manifest. A file that the
manifest does not name is not part of the gallery, whatever lies in the folder. Every file it names is written once and
never again, but for errors.parquet, which only grows; so a reader that holds an old manifest's files reads on in peace.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from semblance.card import ModelCard
from semblance.errors import CardError, GalleryError
from semblance.files import write_whole
from semblance.gallery.index_options import IndexOptions
from semblance.inputs.chosen import Choice

MANIFEST_NAME = "manifest.json"
FORMAT = 2
FORMAT_WITH_KEYPOINTS = 3  # a version that knows none would take such a gallery for damaged
LARGEST_KEY = 2**63 - 1


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
    num_rows: int  # it covers the rows before this one; younger rows are compared one by one
    num_bytes: int
    sha256: str
    factor: float | None = None  # what vectors were multiplied by before they became bytes


@dataclass(frozen=True, slots=True)
class Part:
    """The pictures of one source: keys `first_key` to `first_key + num_items - 1`, usable or not."""

    source: str  # `open_source` takes it, where it is a place
    first_key: int
    num_items: int  # so far
    is_complete: bool
    image_column: str | None = None  # what the source was opened with, beside its name
    label_column: str | None = None
    labels_sha256: str | None = None  # of the CSV file that labels were in

    @property
    def choice(self) -> Choice:
        return Choice(self.image_column, self.label_column, self.labels_sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that a gallery consists of."""

    card: ModelCard  # of the model that made the vectors
    options: Mapping[str, Any]  # what the shards depend on beside source and model, and how the index is built
    parts: tuple[Part, ...]  # one a source, in the order they came; only the last may be incomplete
    next_key: int = 0  # above every key that a picture had, removed and unusable ones included
    columns: Mapping[str, str] | None = None  # the source's own columns and their types; None until a first picture
    shards: tuple[TableFile, ...] = ()  # their rows are counted on through them, from 0
    sift: tuple[TableFile, ...] = ()  # the keypoints of each shard's pictures, where the options have "sift"
    errors: TableFile
    removed: TableFile | None = None  # the rows that no longer count
    index: IndexFile | None = None

    @property
    def num_rows(self) -> int:
        """Rows in all shards, removed ones too."""
        return sum(shard.num_rows for shard in self.shards)

    @property
    def num_images(self) -> int:
        """Rows that count."""
        return self.num_rows - (self.removed.num_rows if self.removed else 0)

    @property
    def has_keypoints(self) -> bool:
        """Whether the keypoints of every picture are kept."""
        return self.options.get("sift") is not None

    @property
    def next_shard(self) -> int:
        """The lowest number above those of all shards."""
        return max((int(_stem(shard)) + 1 for shard in self.shards), default=0)

    @property
    def is_complete(self) -> bool:
        """Whether every source was taken to its end, and there is an index of what they gave."""
        return all(part.is_complete for part in self.parts) and (self.index is not None or not self.num_images)

    @property
    def files(self) -> tuple[TableFile | IndexFile, ...]:
        """Every file of the gallery beside the manifest itself."""
        single = (file for file in (self.removed, self.index) if file is not None)
        return *self.shards, *self.sift, self.errors, *single

    def to_json(self) -> str:
        """The manifest as indented JSON, the same for the same content, with a checksum over itself."""
        content: dict[str, Any] = {
            "format": FORMAT_WITH_KEYPOINTS if self.has_keypoints else FORMAT,
            "card": json.loads(self.card.to_json()),
            "fingerprint": self.card.fingerprint,
            "options": dict(self.options),
            "parts": [_given(asdict(part)) for part in self.parts],
            "next_key": self.next_key,
            "columns": None if self.columns is None else dict(self.columns),
            "shards": [],  # of thousands of files, as the sift below: put in at the end
            "errors": asdict(self.errors),
            "removed": asdict(self.removed) if self.removed else None,
            "index": _given(asdict(self.index)) if self.index else None,
            "num_images": self.num_images,
            "num_errors": self.errors.num_rows,
        }
        if self.sift:  # no such entry in a gallery without, as they were written before there were keypoints
            content["sift"] = []
        text = _dumped(content)
        for name, files in (("shards", self.shards), ("sift", self.sift)):
            text = text.replace(f'\n "{name}": []', f'\n "{name}": {_listed(files)}', 1)
        checksum = hashlib.sha256(text.encode()).hexdigest()
        # where it stands in the order of the names: writing all of it twice would take twice as long
        return text.replace('\n "shards": [', f'\n "sha256": "{checksum}",\n "shards": [', 1)

    def write(self, gallery: Path) -> None:
        """Put it in place: from this moment on the gallery is what it says."""
        write_whole(gallery / MANIFEST_NAME, self.to_json().encode())

    def with_part(self, part: Part) -> Manifest:
        """The same with its last part in another state, or with a further one."""
        if self.parts and self.parts[-1].first_key == part.first_key and self.parts[-1].source == part.source:
            return replace(self, parts=(*self.parts[:-1], part))
        return replace(self, parts=(*self.parts, part))

    @classmethod
    def read(cls, gallery: Path) -> Manifest:
        """Read and check the manifest in the folder `gallery`. Raises GalleryError."""
        path = gallery / MANIFEST_NAME
        if not gallery.is_dir():
            raise GalleryError(f"no gallery at {gallery}; make one with `semblance embed SOURCE --out {gallery}`")
        try:
            text = path.read_bytes().decode("utf-8")
        except FileNotFoundError:
            raise GalleryError(f"{gallery} is no gallery: it has no {MANIFEST_NAME}; give a gallery's folder") from None
        except (OSError, UnicodeDecodeError) as error:
            raise GalleryError(f"{path} cannot be read ({error}); restore it from a copy, or embed again") from error
        try:
            manifest = cls._parse(json.loads(text))
            if text != manifest.to_json():
                raise ValueError("it is not what was written: its checksum or its form is another")
        except _Format as error:
            raise GalleryError(f"{path}: {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, CardError) as error:
            said = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise GalleryError(f"{path} is damaged ({said}); restore it from a copy, or embed again") from error
        return manifest

    @classmethod
    def _parse(cls, raw: dict[str, Any]) -> Manifest:
        if raw["format"] not in (FORMAT, FORMAT_WITH_KEYPOINTS):
            raise _Format(
                f"gallery format {raw['format']!r}, this semblance reads formats {FORMAT} and {FORMAT_WITH_KEYPOINTS}; "
                "use a matching one"
            )
        manifest = cls(
            card=ModelCard.from_json(json.dumps(raw["card"]), where="its card"),
            options=_options(raw["options"]),
            parts=tuple(_part(part) for part in _typed(raw["parts"], list, "parts")),
            next_key=raw["next_key"],
            columns=None if raw["columns"] is None else _typed(raw["columns"], dict, "columns"),
            shards=tuple(_table(shard) for shard in _typed(raw["shards"], list, "shards")),
            sift=tuple(_table(file) for file in _typed(raw.get("sift", []), list, "sift")),
            errors=_table(raw["errors"]),
            removed=None if raw["removed"] is None else _table(raw["removed"]),
            index=None if raw["index"] is None else _index(raw["index"]),
        )
        for name, counted in (
            ("fingerprint", manifest.card.fingerprint),
            ("num_images", manifest.num_images),
            ("num_errors", manifest.errors.num_rows),
        ):
            if raw[name] != counted:
                raise ValueError(f"{name} is {raw[name]!r}, its other fields say {counted!r}")
        _count(manifest.next_key, "next_key")
        if manifest.index is not None and manifest.index.num_rows > manifest.num_rows:
            raise ValueError(f"its index covers {manifest.index.num_rows} rows, its shards hold {manifest.num_rows}")
        stems = [_stem(shard) for shard in manifest.shards] if manifest.has_keypoints else []
        if [file.file for file in manifest.sift] != [f"sift/{stem}.parquet" for stem in stems]:
            raise ValueError("its files of keypoints are not one for each shard, by the same number")
        return manifest


class _Format(Exception):
    """A manifest of another format: nothing is wrong with it."""


def _stem(file: TableFile) -> str:
    return file.file.rpartition("/")[2].removesuffix(".parquet")


def _dumped(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _listed(files: tuple[TableFile, ...]) -> str:
    """What `_dumped` makes of a list of files, twenty times as fast: a manifest is written and read at every commit."""
    listed = ",".join(
        f'\n  {{\n   "file": {json.dumps(each.file)},\n   "num_bytes": {each.num_bytes},\n'
        f'   "num_rows": {each.num_rows},\n   "sha256": {json.dumps(each.sha256)}\n  }}'
        for each in files
    )
    return f"[{listed}\n ]" if files else "[]"


def _given(fields_of: dict[str, Any]) -> dict[str, Any]:
    """Without those that are None, as galleries were written before there were such fields."""
    return {name: value for name, value in fields_of.items() if value is not None}


def _table(raw: dict[str, Any]) -> TableFile:
    table = TableFile(**raw)
    _check_file(table.file, table.sha256)
    _count(table.num_rows, "num_rows")
    _count(table.num_bytes, "num_bytes")
    return table


def _index(raw: dict[str, Any]) -> IndexFile:
    index = IndexFile(**raw)
    _check_file(index.file, index.sha256)
    if index.factor is not None and not (type(index.factor) is float and 0 < index.factor < float("inf")):
        raise ValueError(f"factor is {index.factor!r}, expected a number above 0")
    for name in ("generation", "num_rows", "num_bytes"):
        _count(getattr(index, name), name)
    return index


def _part(raw: dict[str, Any]) -> Part:
    part = Part(**raw)
    _typed(part.source, str, "source")
    _count(part.first_key, "first_key")
    _count(part.num_items, "num_items")
    _typed(part.is_complete, bool, "is_complete")
    for name, value in asdict(part.choice).items():
        if value is not None:
            _typed(value, str, name)
    return part


def _options(raw: dict[str, Any]) -> dict[str, Any]:
    """A build may record more than this; these are what it always records, and what opening a gallery relies on."""
    options: dict[str, Any] = _typed(raw, dict, "options")
    _count(options["shard_rows"], "shard_rows")
    _count(options["batch"], "batch")
    _typed(options["vector_type"], str, "vector_type")
    if (sift := options.get("sift")) is not None:
        _count(_typed(sift, dict, "sift of options")["max_keypoints"], "max_keypoints")
    index = _typed(options["index"], dict, "index of options")
    _typed(index["deterministic"], bool, "deterministic")
    IndexOptions(**{each.name: index[each.name] for each in fields(IndexOptions)})
    return options


def _check_file(name: Any, sha256: Any) -> None:
    """A manifest may come from elsewhere: it must not lead out of its gallery."""
    parts = _typed(name, str, "file").split("/")
    if not all(parts) or ".." in parts or "\\" in name or ":" in name:
        raise ValueError(f"file {name!r} does not lie inside the gallery")
    if len(_typed(sha256, str, "sha256")) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"sha256 of {name} must be 64 hex digits, is {sha256!r}")


def _count(value: Any, name: str) -> None:
    if type(value) is not int or not 0 <= value <= LARGEST_KEY:
        raise ValueError(f"{name} must be a count, is {value!r}")


def _typed(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, is {value!r}")
    return value
