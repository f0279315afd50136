"""The manifest: what a gallery consists of, and the point at which it exists.

In: the facts of a finished build. Out: `manifest.json`, written last and whole, so a folder with a manifest is a
complete gallery. It names every other file with its row count and sha256; what it does not name does not belong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semblance.card import ModelCard
from semblance.errors import CardError, GalleryError
from semblance.files import write_whole

MANIFEST_NAME = "manifest.json"
MANIFEST_FORMAT = 1


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One Parquet file of a gallery."""

    file: str  # its path inside the gallery, with /
    rows: int
    sha256: str  # 64 hex digits, of its bytes


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One generation of the index; it is derived from the shards and can be built again from them."""

    file: str
    sha256: str
    generation: int
    dtype: str  # of the vectors inside the index


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that a gallery is made of."""

    card: ModelCard  # of the model that made its vectors
    source: str  # where its pictures came from, as `open_source` takes it
    options: Mapping[str, Any]  # those that shape the shards
    shards: tuple[FileEntry, ...]
    errors: FileEntry
    index: IndexEntry

    @property
    def num_images(self) -> int:
        """Rows of all shards together."""
        return sum(shard.rows for shard in self.shards)

    def write(self, folder: Path) -> None:
        """Put the manifest into the gallery's folder, whole or not at all."""
        document = {
            "format": MANIFEST_FORMAT,
            "fingerprint": self.card.fingerprint,
            "card": json.loads(self.card.to_json()),
            "source": self.source,
            "options": dict(self.options),
            "images": self.num_images,
            "shards": [asdict(shard) for shard in self.shards],
            "errors": asdict(self.errors),
            "index": asdict(self.index),
        }
        write_whole(folder / MANIFEST_NAME, json.dumps(document, indent=2).encode())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of the gallery in `folder`. Raises GalleryError where there is none, or a damaged one."""
        path = folder / MANIFEST_NAME
        if not folder.is_dir():
            raise GalleryError(f"no gallery at {folder}; make one with `semblance embed SOURCE --out {folder}`")
        if not path.is_file():
            raise GalleryError(f"{folder} is no gallery: it has no {MANIFEST_NAME}; an unfinished one is built again")
        try:
            raw = json.loads(path.read_bytes())
            if raw["format"] != MANIFEST_FORMAT:
                raise GalleryError(f"{path}: gallery format {raw['format']!r}, this semblance reads {MANIFEST_FORMAT}")
            manifest = cls(
                card=ModelCard.from_json(json.dumps(raw["card"]), where=str(path)),
                source=str(raw["source"]),
                options=dict(raw["options"]),
                shards=tuple(_entry(shard) for shard in raw["shards"]),
                errors=_entry(raw["errors"]),
                index=IndexEntry(**raw["index"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, CardError) as error:
            raise GalleryError(
                f"{path}: damaged manifest ({error!r}); restore it or build the gallery again"
            ) from error
        if raw.get("fingerprint") != manifest.card.fingerprint or raw.get("images") != manifest.num_images:
            raise GalleryError(f"{path}: damaged manifest (its totals do not add up); restore it or build it again")
        return manifest


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(raw: Mapping[str, Any]) -> FileEntry:
    entry = FileEntry(**raw)
    if not isinstance(entry.file, str) or type(entry.rows) is not int or entry.rows < 0:
        raise ValueError(f"a file entry must have a name and a row count, is {raw}")
    return entry
