"""Source and encoder to gallery: decode ahead in threads, embed in full batches, write shards, build the index.

In: a source and whatever embeds (`Embedder`). Out: a gallery folder that appears whole: the work is done in a hidden
folder beside it, and the last step is its renaming. Shards and errors are a function of the source and the options
alone: a key is a picture's position in the source, and no batch reaches across two shards.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semblance.card import ModelCard
from semblance.errors import GalleryError, ImageError, InputError
from semblance.gallery.index import VectorIndex
from semblance.gallery.manifest import FileEntry, IndexEntry, Manifest, file_sha256
from semblance.gallery.shards import ErrorRow, Rows, read_embeddings, write_errors, write_shard
from semblance.inference.batches import in_batches, work_ahead
from semblance.inference.session import available_threads
from semblance.inputs.decode import decode
from semblance.inputs.resize import resize
from semblance.inputs.sources import Content, Item, Source

Progress = Callable[[int, int], None]  # pictures done, pictures in all


class Embedder(Protocol):
    """What makes vectors of prepared pictures; `inference.encoder.Encoder` is one."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def max_batch(self) -> int: ...

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, card.height, card.width, card.channels] -> float32 [N, D]."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did, and where the time went."""

    num_images: int
    num_errors: int
    seconds: dict[str, float]  # "decode" summed over its threads; "inference", "write", "index"; "total" by the clock

    @property
    def images_per_sec(self) -> float:
        """Pictures through the whole build, by the clock."""
        return (self.num_images + self.num_errors) / self.seconds["total"]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """One picture of the source: its pixels at the model's size, or why there are none."""

    key: int
    item: Item
    seconds: float
    sha256: str = ""
    width: int = 0
    height: int = 0
    pixels: NDArray[np.uint8] | None = None
    error: ErrorRow | None = None


def build(
    source: Source,
    encoder: Embedder,
    path: Path,
    *,
    shard_rows: int = 8192,
    workers: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Embed all of `source` into a new gallery at `path`.

    `shard_rows` pictures of the source make one shard, `workers` threads decode, `threads` build the index (default for
    both: all this process may use). A picture that cannot be used becomes a row of errors.parquet and leaves the others
    unharmed. Raises GalleryError where `path` is taken or no picture could be used, InputError for options below 1;
    then nothing is left behind.
    """
    if shard_rows < 1 or (workers is not None and workers < 0) or (threads is not None and threads < 1):
        raise InputError(
            f"shard_rows and threads must be at least 1, are {shard_rows} and {threads}; workers at least 0"
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise GalleryError(f"{path} exists already and is left as it is; remove it, or give another path")
    folder = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        (folder / "shards").mkdir(parents=True)
        (folder / "index").mkdir()
        job = _Build(source, encoder, folder, shard_rows, threads or available_threads(), progress)
        report = job.run(available_threads() if workers is None else workers)
        folder.replace(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return report


class _Build:
    """The state of one build: what has been written, and the clocks."""

    def __init__(
        self,
        source: Source,
        encoder: Embedder,
        folder: Path,
        shard_rows: int,
        threads: int,
        progress: Progress | None,
    ) -> None:
        self.source, self.encoder, self.folder = source, encoder, folder
        self.shard_rows, self.threads, self.progress = shard_rows, threads, progress
        self.shards: list[FileEntry] = []
        self.errors: list[ErrorRow] = []
        self.seconds = dict.fromkeys(("decode", "inference", "write", "index", "total"), 0.0)
        self.num_done = 0

    def run(self, workers: int) -> BuildReport:
        start = time.perf_counter()
        chunk = min(16, self.encoder.max_batch)
        prepared = work_ahead(enumerate(self.source), self._prepare, workers=workers, chunk=chunk)
        for number, of_shard in groupby(prepared, key=lambda each: each.key // self.shard_rows):
            self._write_shard(number, of_shard)
        num_images = sum(shard.rows for shard in self.shards)
        if not num_images:
            first = f"; the first: {self.errors[0].uri}: {self.errors[0].message}" if self.errors else ""
            raise GalleryError(f"none of the {self.num_done} pictures of {self.source.name} could be used{first}")
        self._finish()
        self.seconds["total"] = time.perf_counter() - start
        return BuildReport(num_images, len(self.errors), self.seconds)

    def _prepare(self, numbered: tuple[int, Item]) -> _Prepared:
        """Runs in a worker thread: hash, decode, resize."""
        key, item = numbered
        card = self.encoder.card
        start = time.perf_counter()
        try:
            content = _bytes_of(item.content)
            image = decode(content, channels=card.channels)
            pixels = resize(image, height=card.height, width=card.width, resize=card.resize, crop=card.crop)
        except ImageError as error:
            row = ErrorRow(item.uri, "decode", type(error).__name__, str(error))
            return _Prepared(key, item, time.perf_counter() - start, error=row)
        height, width = image.shape[:2]
        return _Prepared(key, item, time.perf_counter() - start, _sha256(content), width, height, pixels)

    def _write_shard(self, number: int, prepared: Iterator[_Prepared]) -> None:
        """Embed one shard's pictures and write those that could be used."""
        kept: list[_Prepared] = []
        embeddings = [np.empty((0, self.encoder.card.dimension), np.float32)]
        for batch in in_batches(self._usable(prepared), self.encoder.max_batch):
            pixels = np.stack([each.pixels for each in batch if each.pixels is not None])  # [N, h, w, C]
            with self._clock("inference"):
                embeddings.append(self.encoder.run(pixels))
            kept.extend(replace(each, pixels=None) for each in batch)  # a shard of photographs need not fit in memory
        if kept:
            with self._clock("write"):
                self._write_rows(number, kept, np.concatenate(embeddings))

    def _usable(self, prepared: Iterator[_Prepared]) -> Iterator[_Prepared]:
        """Pass on what has pixels, and note what has not."""
        for each in prepared:
            self.seconds["decode"] += each.seconds
            self.num_done += 1
            if self.progress is not None and (self.num_done % 64 == 0 or self.num_done == len(self.source)):
                self.progress(self.num_done, len(self.source))
            if each.error is not None:
                self.errors.append(each.error)
            else:
                yield each

    def _write_rows(self, number: int, kept: list[_Prepared], embeddings: NDArray[np.float32]) -> None:
        columns = {name: [each.item.columns.get(name) for each in kept] for name in kept[0].item.columns}
        rows = Rows(
            keys=np.array([each.key for each in kept], np.int64),
            uris=[each.item.uri for each in kept],
            sha256=[each.sha256 for each in kept],
            widths=[each.width for each in kept],
            heights=[each.height for each in kept],
            labels=[each.item.label for each in kept],
            columns=columns,
            embeddings=embeddings,
        )
        file = f"shards/{number:06}.parquet"
        write_shard(self.folder / file, rows)
        self.shards.append(FileEntry(file, len(kept), file_sha256(self.folder / file)))

    def _finish(self) -> None:
        """Errors, index and, last, the manifest that names them all."""
        write_errors(self.folder / "errors.parquet", self.errors)
        errors = FileEntry("errors.parquet", len(self.errors), file_sha256(self.folder / "errors.parquet"))
        with self._clock("index"):
            index = self._build_index()
        options = {"shard_rows": self.shard_rows, "batch": self.encoder.max_batch}
        Manifest(self.encoder.card, self.source.name, options, tuple(self.shards), errors, index).write(self.folder)

    def _build_index(self) -> IndexEntry:
        card = self.encoder.card
        vectors = np.concatenate([read_embeddings(self.folder / each.file, card.dimension) for each in self.shards])
        index = VectorIndex.build(vectors, metric=card.metric, threads=self.threads)
        file = "index/000001.usearch"
        return IndexEntry(file, index.save(self.folder / file), generation=1, dtype=index.dtype)

    @contextmanager
    def _clock(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start


def _bytes_of(content: Content) -> bytes | NDArray[np.uint8]:
    """A file's bytes, read once for its hash and its pixels; anything else as it is."""
    if not isinstance(content, Path):
        return content
    try:
        return content.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{content}: cannot be read ({error.strerror or error}); copy it again or remove it"
        ) from error


def _sha256(content: bytes | NDArray[np.uint8]) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else np.ascontiguousarray(content).data).hexdigest()
