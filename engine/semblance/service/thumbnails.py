"""The gallery's own pictures, small, as far as their files are where they were and inside the allowed folders.

In: a key. Out: the encoded picture's bytes, or a JPEG or PNG of at most a given size. A gallery keeps names and not
pixels, so a picture is looked for where its source has it: a file of a folder or a list, or a row of an array. It is
shown while it is still the one that was embedded. What is inside an archive is not shown. Whatever a name says and
whatever links there are, the file that is opened has to lie in an allowed folder: that is asked of the system once it
is open, when nobody can put another in its place.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.errors import ImageError, SemblanceError
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.manifest import Part
from semblance.gallery.shards import Row
from semblance.inputs.decode import decode
from semblance.inputs.limits import Limits
from semblance.search import open_pictures
from semblance.service.live import LiveGallery

Content = bytes | NDArray[np.uint8]

LARGEST_PX = 1024
_CRISP_PX = 64  # a side; up to here pixels are kept as they are, since JPEG would smear them
_JPEG_QUALITY = 85
_MOST_CACHED_BYTES = 64 << 20
_MOST_LISTED = 5_000_000  # pictures of a list or an array; each takes about 200 bytes


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An encoded small picture."""

    content: bytes
    media_type: str


class Thumbnails:
    """Safe for threads."""

    def __init__(self, live: LiveGallery, roots: tuple[Path, ...], limits: Limits) -> None:
        """Show what is inside of `roots`; without any, inside of the places that the gallery was made from."""
        self._live = live
        self._limits = limits
        self._given = tuple(_real(root) for root in roots)
        self._listed: dict[str, dict[str, Path | NDArray[np.uint8]]] = {}  # by source: contents by uri
        self._listing: dict[str, threading.Lock] = {}  # by source: a large one is not to hold up the others
        self._cache: OrderedDict[tuple[int, str, int], Thumbnail] = OrderedDict()
        self._cached_bytes = 0
        self._caching = threading.Lock()

    def thumbnail(self, key: int, size: int) -> Thumbnail | None:
        """A picture whose longer side is at most `size` pixels; None where it is not to be had.

        Raises ImageError where the file is no picture any more.
        """
        gallery = self._live.now.vectors
        if key not in gallery:
            return None
        (facts,) = gallery.facts(np.array([key]))
        name = (key, facts.sha256, size)
        with self._caching:
            if (found := self._cache.get(name)) is not None:
                self._cache.move_to_end(name)
                return found
        content = self._content(gallery, facts)
        if content is None:
            return None
        made = _small(decode(content, channels=3, limits=self._limits, reduce_to=(size, size)), size)
        with self._caching:
            if (other := self._cache.pop(name, None)) is not None:  # another thread was as fast
                self._cached_bytes -= len(other.content)
            self._cache[name] = made
            self._cached_bytes += len(made.content)
            while self._cached_bytes > _MOST_CACHED_BYTES:
                self._cached_bytes -= len(self._cache.popitem(last=False)[1].content)
        return made

    def has(self, key: int) -> bool:
        """Whether there may be one: what was put in by somebody under a key of its own has none."""
        return _part_of(self._live.now.vectors, key) is not None

    def content(self, key: int) -> Content | None:
        """The whole picture: encoded bytes, or pixels [H, W] or [H, W, C]; None where it is not to be had."""
        gallery = self._live.now.vectors
        if key not in gallery:
            return None
        (facts,) = gallery.facts(np.array([key]))
        return self._content(gallery, facts)

    def _content(self, gallery: VectorGallery, facts: Row) -> Content | None:
        content = self._found(gallery, facts.key, facts.uri)
        # what somebody put in the place of a picture has whatever name they wrote, and a file may be another by now
        return content if content is not None and _sha256(content) == facts.sha256 else None

    def _found(self, gallery: VectorGallery, key: int, uri: str) -> Content | None:
        part = _part_of(gallery, key)
        if part is None:
            return None
        place = Path(part.source)
        if place.is_dir():
            return self._read(place / uri, place)
        found = self._of(part).get(uri)
        return self._read(found, place.parent) if isinstance(found, Path) else found

    def _of(self, part: Part) -> dict[str, Path | NDArray[np.uint8]]:
        """What a source that is no folder has, by uri; listed once, or again while it cannot be."""
        with self._listing.setdefault(part.source, threading.Lock()):
            if (found := self._listed.get(part.source)) is None:
                try:
                    found = self._listed[part.source] = self._list(part)
                except SemblanceError:  # it has gone, or is another
                    return {}
            return found

    def _list(self, part: Part) -> dict[str, Path | NDArray[np.uint8]]:
        place, found = Path(part.source), dict[str, Path | NDArray[np.uint8]]()
        if place.is_absolute() and not self._is_allowed(_real(place), place.parent):
            return found
        columns = {"image_column": part.image_column, "label_column": part.label_column}
        for item in open_pictures(part.source, **columns):
            if isinstance(item.content, bytes) or len(found) >= _MOST_LISTED:  # each would have to be kept
                break
            found[item.uri] = item.content
        return found

    def _read(self, path: Path, own_root: Path) -> bytes | None:
        """The bytes of a regular file inside the allowed folders."""
        try:
            # a pipe is opened without waiting for its other end, and then refused
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        except (OSError, ValueError):
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > self._limits.max_bytes:
                return None
            if not self._is_allowed(_opened_path(descriptor, path), own_root):
                return None
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(self._limits.max_bytes + 1)
        finally:
            os.close(descriptor)
        return content if len(content) <= self._limits.max_bytes else None

    def _is_allowed(self, path: Path, own_root: Path) -> bool:
        roots = self._given or (_real(own_root),)
        return any(path.is_relative_to(root) for root in roots)


def address_of(thumbnails: Thumbnails | None, key: int) -> str | None:
    """Where the picture of a key is to be seen, if it may be."""
    return f"/v1/images/{key}" if thumbnails is not None and thumbnails.has(key) else None


def _part_of(gallery: VectorGallery, key: int) -> Part | None:
    """The source that gave a key; None for one that was put in by somebody, whose name is whatever they wrote."""
    return next((p for p in gallery.manifest.parts if p.first_key <= key < p.first_key + p.num_items), None)


def _sha256(content: Content) -> str:
    """As a gallery has it: of an encoded picture's bytes, or of the pixels."""
    return hashlib.sha256(content if isinstance(content, bytes) else np.ascontiguousarray(content).data).hexdigest()


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _opened_path(descriptor: int, path: Path) -> Path:
    """Where the file that is open lies, all links followed; elsewhere than on Linux, where its name leads by now."""
    if sys.platform == "linux":
        with suppress(OSError):
            return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    return _real(path)


def _small(pixels: NDArray[np.uint8], size: int) -> Thumbnail:
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if longer > size:
        scale = size / longer
        to = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.asarray(cv2.resize(pixels, to, interpolation=cv2.INTER_AREA), np.uint8)
    is_tiny = max(pixels.shape[:2]) <= _CRISP_PX
    suffix, options = (".png", []) if is_tiny else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    is_written, encoded = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    if not is_written:
        raise ImageError("the picture cannot be encoded as a small one")
    return Thumbnail(encoded.tobytes(), "image/png" if is_tiny else "image/jpeg")
