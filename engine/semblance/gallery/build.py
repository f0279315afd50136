"""A source and an encoder become a gallery: decode ahead, embed in full batches, write shard by shard, index, commit.

In: a source, an encoder, a folder to make. Out: the gallery, and a report of where the time went. Shard n holds the
items n * shard_rows and on of the source, and batches never cross a shard, so shards and error rows depend on nothing
but the source, the model and the options. A picture that cannot be used becomes a row in errors.parquet. The manifest
is written last: until then the folder is no gallery, and if anything fails it is removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from semblance.card import ModelCard
from semblance.errors import GalleryError, InputError
from semblance.gallery import shards
from semblance.gallery.folder import new_folder, writing
from semblance.gallery.index import VectorIndex
from semblance.gallery.index_options import IndexOptions
from semblance.gallery.manifest import IndexFile, Manifest, TableFile
from semblance.gallery.prepare import Picture, prepare
from semblance.gallery.shards import ErrorRow, Row
from semblance.inference.batches import in_batches, work_ahead
from semblance.inference.session import available_threads
from semblance.inputs.sources import Source
from semblance.options import checked_count

__all__ = ["SHARD_ROWS", "BuildReport", "Embedder", "IndexOptions", "build"]

Vectors = NDArray[np.float32]

SHARD_ROWS = 8192  # at 2,048-d a shard is 64 MB: lost work after a kill stays small, and so does the number of files
_CHUNK = 16  # pictures that a decoding thread takes at once


class Embedder(Protocol):
    """What a build needs of an encoder."""

    @property
    def card(self) -> ModelCard:
        """What the model eats and gives."""

    @property
    def max_batch(self) -> int:
        """The largest batch that pays."""

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, card.height, card.width, card.channels] -> float32 [N, D]."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did and where its wall-clock time went."""

    num_images: int  # embedded and stored
    num_errors: int  # listed in errors.parquet
    seconds: dict[str, float]  # by stage: decode (waiting for pictures), inference, write, index, and total
    images_per_sec: float  # all items over the total


@dataclass(slots=True)
class _State:
    """What a running build knows."""

    total: int
    progress: Callable[[int, int], None] | None
    num_taken: int = 0  # items of the source, usable or not
    columns: dict[str, str] | None = None  # types of the source's own columns, decided by the first shard
    shards: list[TableFile] = field(default_factory=list)
    errors: list[ErrorRow] = field(default_factory=list)
    vectors: list[Vectors] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def report_progress(self) -> None:
        if self.progress is not None:
            self.progress(self.num_taken, self.total)


def build(
    source: Source,
    encoder: Embedder,
    path: Path,
    *,
    shard_rows: int = SHARD_ROWS,
    batch: int | None = None,
    workers: int | None = None,
    vector_type: shards.VectorType = "float32",
    index: IndexOptions | None = None,
    deterministic: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> BuildReport:
    """Embed every picture of `source` into a new gallery at `path`, which must not exist or be an empty folder.

    `workers` threads decode (default: all this process may use; 0: the caller's own). `batch` defaults to the
    encoder's largest. `deterministic` indexes with one thread, so that the index too is the same to the byte.
    `progress(done, total)` is called as items are done, usable or not.
    Raises GalleryError where something is in the way, the disk refuses or no picture is usable, InputError for
    options that cannot be, and whatever the source and the encoder raise; then nothing is left behind.
    """
    path, index, threads = Path(path), index or IndexOptions(), available_threads()
    batch = encoder.max_batch if batch is None else batch
    workers = threads if workers is None else workers
    _check_options(shard_rows=shard_rows, batch=batch, workers=workers, vector_type=vector_type)
    start = time.perf_counter()
    state = _State(len(source), progress)
    with new_folder(path):
        _write_shards(state, source, encoder, path, shard_rows, batch, workers, vector_type)
        vectors = np.concatenate([np.empty((0, encoder.card.dimension), np.float32), *state.vectors])  # [N, D]
        if len(vectors) == 0:
            raise GalleryError(_nothing_usable(source, state))
        with state.timed("index"):
            built = VectorIndex.build(
                vectors, metric=encoder.card.metric, threads=1 if deterministic else threads, **asdict(index)
            )
        with state.timed("index"), writing(path):
            index_file = _write_index(built, path)
        with state.timed("write"), writing(path):
            Manifest(
                card=encoder.card,
                source=source.name,
                options={
                    "shard_rows": shard_rows,
                    "batch": batch,
                    "vector_type": vector_type,
                    "index": {**asdict(index), "dtype": built.dtype, "deterministic": deterministic},
                },
                columns=state.columns or {},
                shards=tuple(state.shards),
                errors=shards.write_errors(path, sorted(state.errors, key=lambda error: error.key)),
                index=index_file,
            ).write(path)
    seconds = {stage: state.seconds.get(stage, 0.0) for stage in ("decode", "inference", "write", "index")}
    seconds["total"] = time.perf_counter() - start
    return BuildReport(len(vectors), len(state.errors), seconds, state.num_taken / seconds["total"])


# ------------------------------------------------------------------------------------------------------------------
# Shards


def _write_shards(
    state: _State,
    source: Source,
    encoder: Embedder,
    path: Path,
    shard_rows: int,
    batch: int,
    workers: int,
    vector_type: shards.VectorType,
) -> None:
    """The whole stream; decoding runs ahead across the borders of shards, batches end there."""
    card = encoder.card
    prepared = work_ahead(
        enumerate(source),
        lambda numbered: prepare(*numbered, card),
        workers=workers,
        chunk=_CHUNK,
        ahead=max(2 * workers, -(-2 * batch // _CHUNK)),
    )
    with closing(prepared):  # type: ignore[type-var]
        while True:
            taken_before = state.num_taken
            rows, vectors = _embed_shard(state, islice(prepared, shard_rows), encoder, batch)
            if state.num_taken > taken_before:
                with state.timed("write"), writing(path):
                    _write_shard(state, path, rows, vectors, card, vector_type)
            if state.num_taken < taken_before + shard_rows:
                return


def _embed_shard(
    state: _State, prepared: Iterator[Picture | ErrorRow], encoder: Embedder, batch: int
) -> tuple[list[Row], Vectors]:
    """Rows and vectors [n, D] of a shard's usable pictures; batches are full but for the last."""
    rows: list[Row] = []
    vectors = [np.empty((0, encoder.card.dimension), np.float32)]
    batches = in_batches(_usable(state, prepared), batch)
    while True:
        with state.timed("decode"):
            pictures = next(batches, None)
        state.report_progress()
        if pictures is None:
            return rows, np.concatenate(vectors)
        with state.timed("inference"):
            vectors.append(encoder.run(np.stack([picture.pixels for picture in pictures])))
        rows += [picture.row for picture in pictures]


def _usable(state: _State, prepared: Iterator[Picture | ErrorRow]) -> Iterator[Picture]:
    for result in prepared:
        state.num_taken += 1
        if isinstance(result, ErrorRow):
            state.errors.append(result)
        else:
            yield result


def _write_shard(
    state: _State, path: Path, rows: list[Row], vectors: Vectors, card: ModelCard, vector_type: shards.VectorType
) -> None:
    """Store what can be stored; the rest becomes error rows."""
    if state.columns is None:
        state.columns = shards.column_types(row.columns for row in rows)
    with np.errstate(over="ignore"):  # beyond half floats: infinite, and found below
        stored = vectors.astype(vector_type).astype(np.float32)  # the index shall know what the shards hold
    keep = []
    for number, row in enumerate(rows):
        stage, problem = "columns", shards.misfit(row.columns, state.columns)
        if not problem:
            stage, problem = "embed", _vector_problem(stored[number], card, vector_type)
        if problem:
            state.errors.append(ErrorRow(row.key, row.uri, stage, InputError.__name__, f"{row.uri}: {problem}"))
        else:
            keep.append(number)
    rows, stored = [rows[number] for number in keep], stored[keep]
    state.vectors.append(stored)
    state.shards.append(
        shards.write_shard(path, len(state.shards), rows, stored, columns=state.columns, vector_type=vector_type)
    )


def _vector_problem(vector: Vectors, card: ModelCard, vector_type: str) -> str:
    if not np.isfinite(vector).all():
        return f"its embedding is not finite as {vector_type}"
    if card.metric == "cos" and not vector.any():
        return "its embedding is zero, which has no direction to compare by cosine"
    return ""


# ------------------------------------------------------------------------------------------------------------------
# Index, options


def _write_index(index: VectorIndex, path: Path) -> IndexFile:
    (path / "index").mkdir()
    name = "index/000001.usearch"
    written = index.save(path / name)
    return IndexFile(1, name, written.num_bytes, written.sha256)


def _check_options(*, shard_rows: int, batch: int, workers: int, vector_type: str) -> None:
    for name, value, least in (("shard_rows", shard_rows, 1), ("batch", batch, 1), ("workers", workers, 0)):
        checked_count(name, value, least=least)
    if vector_type not in get_args(shards.VectorType):
        raise InputError(f"vector_type must be one of {list(get_args(shards.VectorType))}, is {vector_type!r}")


def _nothing_usable(source: Source, state: _State) -> str:
    if not state.errors:
        return f"{source.name} holds no pictures, so there is no gallery to make; give a source with pictures"
    first = min(state.errors, key=lambda error: error.key)
    return (
        f"none of the {state.num_taken} pictures of {source.name} could be used; the first: {first.message} "
        f"(stage {first.stage}); mend the source and build again"
    )
