"""A source and an encoder become a gallery, or a part of one: begun, carried on where it was stopped, or found done.

In: a source, an encoder, a folder. Out: the gallery, and a report of where the time went. Every `shard_rows` items of
the source are one commit: a shard, the errors among them, and a manifest that names both. Shards and error rows depend
on nothing but the source, the model and the options, so a run that was killed at any moment and is repeated ends with
the same bytes as one that nobody disturbed. A picture that cannot be used becomes a row in errors.parquet.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from semblance.card import ModelCard
from semblance.container import available_threads
from semblance.errors import GalleryError, InputError, SpaceMismatch
from semblance.gallery import shards
from semblance.gallery.folder import is_gallery, make_folder, remove_folder, writing
from semblance.gallery.index_options import IndexOptions
from semblance.gallery.keypoints import KEYPOINT_BYTES, MOST_KEYPOINTS, Extractor, Keypoints
from semblance.gallery.manifest import LARGEST_KEY, Manifest, Part
from semblance.gallery.memory import release_memory
from semblance.gallery.pipeline import Embedder, Pipeline, Shard, Times
from semblance.gallery.prepare import Known, Picture, prepare
from semblance.gallery.report import BuildReport, make_report
from semblance.gallery.shards import ErrorRow, Row
from semblance.gallery.writer import GalleryWriter, locked
from semblance.inputs.chosen import choice_of
from semblance.inputs.decode import single_threaded
from semblance.inputs.limits import Limits
from semblance.inputs.lists import STANDARD_INPUT
from semblance.inputs.sources import Item, Source, num_items
from semblance.options import checked_count

Progress = Callable[[int, int | None], None]  # items done, and of how many, where that is known
IndexProgress = Callable[[int, int], None]

# At 2,048-d a shard is 32 MB, of which the writer needs four times as much in passing: lost work after a kill stays
# small, and so do memory and the number of files
SHARD_ROWS = 4096
_SHARD_BYTES = 1 << 28  # wider vectors get shorter shards, whose embeddings fit into one Parquet page
_KEYPOINT_SHARD_BYTES = 1 << 26  # and so do pictures with many keypoints, of which three shards may be in memory
_CHOICE_NAMES = {"labels_sha256": "labels (by the sha256 of their file)"}


def build(
    source: Source,
    encoder: Embedder,
    path: Path,
    *,
    shard_rows: int | None = None,
    batch: int | None = None,
    workers: int | None = None,
    vector_type: shards.VectorType = "float32",
    limits: Limits | None = None,
    index: IndexOptions | None = None,
    deterministic: bool = False,
    extractor: Extractor | None = None,
    max_errors: int | None = None,
    progress: Progress | None = None,
    index_progress: IndexProgress | None = None,
) -> BuildReport:
    """Embed every picture of `source` into the gallery at `path`.

    What is at `path` decides: nothing or an empty folder becomes a gallery; an unfinished gallery of the same source,
    model and options is carried on where it was stopped; a finished one is left as it is; anything else is refused.
    `workers` threads decode (default: all this process may use; 0: the caller's own). `batch` defaults to that of the
    gallery, where one is carried on, else to the encoder's largest; `shard_rows` to 4,096, or fewer for wide vectors
    and for many keypoints. `deterministic` indexes with one thread, so that the index too is the same to the byte. What
    `extractor` finds in each picture is kept with it. More than `max_errors` unusable pictures end the run.
    `progress(done, total)` is called as items are done, usable or not; `total` is None where nobody knows it;
    `index_progress(done, total)` as images are indexed.
    Raises GalleryError where something is in the way, another process writes, the disk refuses, the source is not what
    it was, no picture is usable or too many are not; InputError for options that cannot be; and whatever the source
    and the encoder raise. What was committed stays; where nothing was, nothing is left behind.
    """
    path, start = Path(path), time.perf_counter()
    own = encoder.max_batch if batch is None else batch
    options = _options(encoder.card, shard_rows, own, vector_type, limits, index, deterministic, extractor)
    options["backend"] = encoder.backend
    workers = available_threads() if workers is None else checked_count("workers", workers, least=0)
    max_errors = None if max_errors is None else checked_count("max_errors", max_errors, least=0)
    missing = make_folder(path)
    with locked(path):
        try:
            if not is_gallery(path):
                _begin(path, encoder.card, options, source)
            manifest = Manifest.read(path)
            if batch is None:
                options["batch"] = manifest.options["batch"]
            if manifest.parts[0].is_complete or "backend" not in manifest.options:
                del options["backend"]  # nothing is embedded any more, or nobody knows what the first shards are by
            _check_same(path, manifest, encoder.card, options, source)
            writer = GalleryWriter(path, manifest)
            with writing(path):
                writer.tidy()
            part = manifest.parts[0]
            return _take(writer, part, source, encoder, extractor, workers, max_errors, progress, index_progress, start)
        except BaseException:
            if _is_barren(path):
                remove_folder(path, missing)
            raise


def begun(
    path: Path,
    card: ModelCard,
    source: Source,
    *,
    shard_rows: int | None = None,
    batch: int | None = None,
    vector_type: shards.VectorType = "float32",
    limits: Limits | None = None,
    index: IndexOptions | None = None,
    deterministic: bool = False,
    extractor: Extractor | None = None,
) -> Manifest | None:
    """The manifest of what `build` would carry on at `path`, or find done; None where it would begin.

    Takes what is known before a model is loaded: its card, the source and the options; a batch that is not given
    is taken to be the gallery's. Raises GalleryError and InputError as `build` does for a gallery of something else.
    """
    if not is_gallery(path):
        return None
    manifest = Manifest.read(path)
    batch = manifest.options["batch"] if batch is None else batch
    options = _options(card, shard_rows, batch, vector_type, limits, index, deterministic, extractor)
    _check_same(path, manifest, card, options, source)
    return manifest


def add(
    source: Source,
    encoder: Embedder,
    path: Path,
    *,
    extractor: Extractor | None = None,
    workers: int | None = None,
    max_errors: int | None = None,
    progress: Progress | None = None,
    index_progress: IndexProgress | None = None,
) -> BuildReport:
    """Embed the pictures of a further `source` into the finished gallery at `path`, by the gallery's own options.

    A source that is in the gallery already is looked through again: pictures with a new name are embedded, those whose
    bytes changed are embedded anew under the key they have, the others are left alone. Stopped and called again, it is
    carried on. A gallery with keypoints needs an `extractor` of its own options. Raises as `build` does, and
    SpaceMismatch for another model.
    """
    path, start = Path(path), time.perf_counter()
    workers = available_threads() if workers is None else checked_count("workers", workers, least=0)
    max_errors = None if max_errors is None else checked_count("max_errors", max_errors, least=0)
    with GalleryWriter.open(path) as writer:
        manifest = writer.manifest
        _check_model(path, manifest, encoder.card)
        _check_sift(path, manifest.options.get("sift"), None if extractor is None else extractor.options)
        part = manifest.parts[-1]
        if part.is_complete:
            _check_chosen_before(path, manifest, source)
            part = _first_state(source, manifest.next_key)
        elif part.source != source.name:
            raise GalleryError(
                f"{path} is unfinished: {part.source} was not taken to its end; finish that first, by the same command"
            )
        elif other := _other_choice(part, source):
            raise GalleryError(f"{path} is unfinished: {part.source} was begun with {other}; use the same to finish it")
        if manifest.next_key == LARGEST_KEY:
            raise GalleryError(f"{path} has no keys left above {LARGEST_KEY - 1}; build a new gallery")
        return _take(writer, part, source, encoder, extractor, workers, max_errors, progress, index_progress, start)


# ------------------------------------------------------------------------------------------------------------------
# One source, to its end


def _take(
    writer: GalleryWriter,
    part: Part,
    source: Source,
    encoder: Embedder,
    extractor: Extractor | None,
    workers: int,
    max_errors: int | None,
    progress: Progress | None,
    index_progress: IndexProgress | None,
    start: float,
) -> BuildReport:
    """Embed what is left of `source`, then bring the index up to date."""
    single_threaded()
    times, card, options = Times(), encoder.card, writer.manifest.options
    num_before, num_images_before = part.num_items, len(writer)
    num_errors_before = _num_errors(writer, part)
    known, listed = _known(writer, part), _listed(writer, part)
    limits, describe = Limits(**options["limits"]), None if extractor is None else extractor.describe
    total = num_items(source)

    def prepared(numbered: tuple[int, Item]) -> Picture | Known | ErrorRow:
        number, item = numbered
        return prepare(part.first_key + number, item, card, limits=limits, known=known, describe=describe)

    def watch(done: int, errors: int, last: ErrorRow | None) -> None:
        if progress is not None:
            progress(num_before + done, total)
        if max_errors is not None and num_errors_before + errors > max_errors:
            raise _TooMany(last)

    taken, num_errors = part, num_errors_before

    def write(shard: Shard) -> None:
        nonlocal taken, num_errors
        rows, vectors, keypoints = _sort_out(writer, shard, card)
        num_errors += len(shard.errors)
        if max_errors is not None and num_errors > max_errors:
            raise _TooMany(shard.errors[-1])  # uncommitted: the same pictures are taken again once they are mended
        taken = replace(taken, num_items=taken.num_items + shard.num_items)
        errors = [error for error in shard.errors if (error.uri, error.message) not in listed]
        writer.append(rows, vectors, keypoints=keypoints, errors=errors, part=taken)

    if not part.is_complete:
        items = enumerate(source)
        _skip(writer, part, items)
        pipeline = Pipeline(
            encoder,
            prepared,
            write,
            batch=options["batch"],
            shard_items=options["shard_rows"],
            workers=workers,
            times=times,
            watch=watch,
            weigh=_num_encoded_bytes,
        )
        try:
            pipeline.run(items)
        except _TooMany as stop:
            raise GalleryError(_too_many(writer, max_errors, stop.last)) from None
        if not len(writer):
            raise GalleryError(_nothing_usable(source, writer))
        # the index needs memory of its own: without this a build peaks here, the higher the more pictures there are
        encoder.release_memory()
        release_memory()
    with times.measured("index"):
        writer.update_index(threads=available_threads(), progress=index_progress)
    if not part.is_complete:  # last of all: a part that is complete is not carried on but looked through again
        writer.finish(replace(taken, is_complete=True))
    return make_report(
        times,
        num_images=len(writer),
        num_errors=writer.manifest.errors.num_rows,
        num_taken=taken.num_items - num_before,
        num_added=len(writer) - num_images_before,
        total_seconds=time.perf_counter() - start,
        has_keypoints=extractor is not None,
    )


def _num_encoded_bytes(numbered: tuple[int, Item]) -> int:
    content = numbered[1].content
    return len(content) if isinstance(content, bytes) else 0  # a file is not read yet, an array is mostly a view


def _sort_out(
    writer: GalleryWriter, shard: Shard, card: ModelCard
) -> tuple[list[Row], NDArray[np.floating[Any]], list[Keypoints] | None]:
    """The rows that can be stored, their vectors [n, D] as they are, and keypoints where the gallery keeps them.

    The others join the shard's errors. Takes the vectors out of the shard, which would be held twice while it is
    written.
    """
    manifest = writer.manifest
    vector_type = manifest.options["vector_type"]
    columns = manifest.columns
    if columns is None:
        columns = shards.column_types((row.columns for row in shard.rows), has_keypoints=manifest.has_keypoints)
    with np.errstate(over="ignore"):  # beyond half floats: infinite, and found below
        stored = np.concatenate(shard.vectors, dtype=vector_type, casting="same_kind")
    shard.vectors.clear()
    keep = []
    for number, row in enumerate(shard.rows):
        stage, problem = "columns", shards.misfit(row.columns, columns)
        if not problem:
            stage, problem = "embed", shards.vector_problem(stored[number], card.metric)
        if problem:
            shard.errors.append(ErrorRow(row.key, row.uri, stage, InputError.__name__, f"{row.uri}: {problem}"))
        else:
            keep.append(number)
    shard.errors.sort(key=lambda error: error.key)
    if len(keep) < len(shard.rows):
        shard.rows, stored = [shard.rows[number] for number in keep], stored[keep]
        shard.keypoints = [shard.keypoints[number] for number in keep] if manifest.has_keypoints else []
    return shard.rows, stored, shard.keypoints if manifest.has_keypoints else None


# ------------------------------------------------------------------------------------------------------------------
# What is there already


def _skip(writer: GalleryWriter, part: Part, items: Iterator[tuple[int, Item]]) -> None:
    """Pass over what was taken before, and make sure that it is still what it was."""
    taken = _taken_uris(writer, part)
    key, uri = next(taken, (-1, ""))
    count = 0
    for number, item in islice(items, part.num_items):
        count += 1
        while 0 <= key < part.first_key + number:
            key, uri = next(taken, (-1, ""))
        if key == part.first_key + number and uri != item.uri:
            raise GalleryError(
                f"{writer.path} was begun when number {number} of {part.source} was {uri!r}; it is {item.uri!r} now; "
                "put the source back as it was, or embed into another folder"
            )
    if count < part.num_items:
        raise GalleryError(
            f"{writer.path} was begun when {part.source} had at least {part.num_items} pictures, it has {count} now; "
            "put the source back as it was, or embed into another folder"
        )


def _taken_uris(writer: GalleryWriter, part: Part) -> Iterator[tuple[int, str]]:
    """Keys and names of a part's pictures, usable or not, by key; shard by shard, so that few are in memory."""

    def stored() -> Iterator[tuple[int, str]]:
        for table in writer.rows.tables:
            columns = table.columns(["key", "uri"])
            yield from zip(columns.column("key").to_pylist(), columns.column("uri").to_pylist(), strict=True)

    end = part.first_key + part.num_items
    errors = zip(writer.errors.column("key").to_pylist(), writer.errors.column("uri").to_pylist(), strict=True)
    mine = (
        ((key, uri) for key, uri in pairs if part.first_key <= key < end) for pairs in (stored(), errors)
    )  # each ascending: only keys of older parts are ever written again
    return heapq.merge(*mine)


def _num_errors(writer: GalleryWriter, part: Part) -> int:
    keys = writer.errors.column("key").to_numpy()
    return int(((keys >= part.first_key) & (keys < part.first_key + part.num_items)).sum())


def _known(writer: GalleryWriter, part: Part) -> Mapping[str, tuple[int, str]]:
    """Key and sha256 of the pictures that older parts of the same source gave, by uri."""
    is_known = _is_of_older(writer, part, writer.keys)
    rows = np.flatnonzero(is_known & writer.alive)
    if not len(rows):
        return {}
    columns = writer.rows.columns(["uri", "sha256"]).take(rows)
    uris, hashes = columns.column("uri").to_pylist(), columns.column("sha256").to_pylist()
    return dict(zip(uris, zip(writer.keys[rows].tolist(), hashes, strict=True), strict=True))


def _listed(writer: GalleryWriter, part: Part) -> set[tuple[str, str]]:
    """Names and messages of the pictures that older parts of the same source found unusable."""
    is_listed = _is_of_older(writer, part, writer.errors.column("key").to_numpy())
    errors = writer.errors.filter(pa.array(is_listed))
    return set(zip(errors.column("uri").to_pylist(), errors.column("message").to_pylist(), strict=True))


def _is_of_older(writer: GalleryWriter, part: Part, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `keys` [n] older parts of the same source gave: [n] bool."""
    found = np.zeros(len(keys), np.bool_)
    for each in writer.manifest.parts:
        if each.source == part.source and each.first_key < part.first_key:
            found |= (keys >= each.first_key) & (keys < each.first_key + each.num_items)
    return found


# ------------------------------------------------------------------------------------------------------------------
# Options


def _options(
    card: ModelCard,
    shard_rows: int | None,
    batch: int,
    vector_type: shards.VectorType,
    limits: Limits | None,
    index: IndexOptions | None,
    deterministic: bool,
    extractor: Extractor | None,
) -> dict[str, Any]:
    """What the shards and the index depend on beside source and model, as the manifest records it."""
    if vector_type not in get_args(shards.VectorType):
        raise InputError(f"vector_type must be one of {list(get_args(shards.VectorType))}, is {vector_type!r}")
    limits = limits or Limits()
    longest, at = max(1, _SHARD_BYTES // (4 * card.dimension)), f"{card.dimension} dimensions"
    if extractor is not None:
        most = _checked_most(extractor, limits)
        with_keypoints = max(1, _KEYPOINT_SHARD_BYTES // (KEYPOINT_BYTES * most))
        if with_keypoints < longest:
            longest, at = with_keypoints, f"{most} keypoints to a picture"
    shard_rows = min(SHARD_ROWS, longest) if shard_rows is None else checked_count("shard_rows", shard_rows)
    if shard_rows > 4 * longest:
        raise InputError(f"shard_rows must be at most {4 * longest} at {at}, is {shard_rows}")
    options: dict[str, Any] = {
        "shard_rows": shard_rows,
        "batch": checked_count("batch", batch),
        "vector_type": vector_type,
        "limits": asdict(limits),
        "index": {**asdict(index or IndexOptions()), "deterministic": deterministic},
    }
    if extractor is not None:  # no such entry in a gallery without, as they were written before there were keypoints
        options["sift"] = dict(extractor.options)
    return options


def _checked_most(extractor: Extractor, limits: Limits) -> int:
    """The most keypoints that a picture may have. Raises InputError where they cannot be kept."""
    most = extractor.options["max_keypoints"]
    if most is None or checked_count("max_keypoints", most) > MOST_KEYPOINTS:
        raise InputError(
            f"a gallery's max_keypoints must be in 1..{MOST_KEYPOINTS}, is {most}: a shard of them has to fit into "
            "memory; give a number that no picture reaches"
        )
    if limits.is_scaled:
        raise InputError(
            "SIFT keypoints (--sift) of JPEGs that are decoded smaller (--scaled-decode) would be those of smaller "
            "pictures; leave out one of the two"
        )
    return int(most)


def _begin(path: Path, card: ModelCard, options: dict[str, Any], source: Source) -> None:
    """The first manifest: what is to be made, and nothing made yet."""
    with writing(path):
        for folder in ("shards", "sift") if "sift" in options else ("shards",):
            (path / folder).mkdir(exist_ok=True)
        errors = shards.write_errors(path, [])
        Manifest(card=card, options=options, parts=(_first_state(source, 0),), errors=errors).write(path)


def _first_state(source: Source, first_key: int) -> Part:
    return Part(source.name, first_key, 0, is_complete=False, **asdict(choice_of(source)))


def _is_barren(path: Path) -> bool:
    """Whether no picture was ever committed: such a gallery is of no use to anybody."""
    try:
        manifest = Manifest.read(path)
    except GalleryError:
        return not is_gallery(path)
    return _holds_nothing(manifest)


def _holds_nothing(manifest: Manifest) -> bool:
    # a finished one without shards is one that was emptied; it still knows what it was
    return not manifest.shards and not manifest.parts[0].is_complete


def _check_model(path: Path, manifest: Manifest, card: ModelCard) -> None:
    if manifest.card.fingerprint != card.fingerprint:
        raise SpaceMismatch(
            f"gallery {path} holds vectors of {manifest.card.name!r} ({manifest.card.fingerprint[:12]}), the model "
            f"given is {card.name!r} ({card.fingerprint[:12]}); use the gallery's own model, or another folder"
        )
    if manifest.card.precision != card.precision:
        raise GalleryError(
            f"gallery {path} holds vectors of {card.name!r} in {manifest.card.precision}, the model given computes in "
            f"{card.precision}; use the same precision, or another folder"
        )


def _check_same(path: Path, manifest: Manifest, card: ModelCard, options: dict[str, Any], source: Source) -> None:
    """A gallery is carried on only as it was begun."""
    _check_model(path, manifest, card)
    if manifest.parts[0].source != source.name:
        raise GalleryError(
            f"{path} is a gallery of {manifest.parts[0].source}, not of {source.name}; give another path, or add to "
            f"it: `semblance add {path} {source.name}`"
        )
    if other := _other_choice(manifest.parts[0], source):
        raise GalleryError(f"{path} was begun with {other}; use the same, or another folder")
    _check_sift(path, manifest.options.get("sift"), options.get("sift"))
    before = _flat(manifest.options)
    for name, value in _flat(options).items():
        if before.get(name) != value:
            raise GalleryError(
                f"{path} was begun with {name} = {before.get(name)!r}, not {value!r}; use the same, or another folder"
            )


def _check_sift(path: Path, before: Mapping[str, Any] | None, given: Mapping[str, Any] | None) -> None:
    """All pictures of a gallery have keypoints, found in the same way, or none has any."""
    if before is None and given is None:
        return
    if before is None or given is None:
        begun, now = ("without", "with") if before is None else ("with", "without")
        raise GalleryError(f"{path} was begun {begun} SIFT, not {now} it; use the same, or another folder")
    for name in sorted({*before, *given}):
        if before.get(name) != given.get(name):
            raise GalleryError(
                f"{path} was begun with sift.{name} = {before.get(name)!r}, not {given.get(name)!r}; use the same, or "
                "another folder"
            )


def _check_chosen_before(path: Path, manifest: Manifest, source: Source) -> None:
    """A source that is in the gallery already is looked through again only as it was the first time."""
    for part in manifest.parts:
        # what standard input gives is another list each time
        if part.source == source.name != STANDARD_INPUT and (other := _other_choice(part, source)):
            raise GalleryError(
                f"{path} has pictures of {part.source} already, taken with {other}; add it with the same, or embed it "
                "into another folder"
            )


def _other_choice(part: Part, source: Source) -> str:
    """What `source` was opened with in another way than for `part`, with both values; "" where nothing is."""
    before = asdict(part.choice)
    for name, value in asdict(choice_of(source)).items():
        if before[name] != value:
            return f"{_CHOICE_NAMES.get(name, name)} = {before[name]!r}, not {value!r}"
    return ""


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value})
    return flat


class _TooMany(Exception):
    """More unusable pictures than the caller allows; `last` is None where earlier runs found as many."""

    def __init__(self, last: ErrorRow | None) -> None:
        super().__init__(last)
        self.last = last


def _too_many(writer: GalleryWriter, max_errors: int | None, last: ErrorRow | None) -> str:
    if last is None:
        last = ErrorRow(**writer.errors.slice(len(writer.errors) - 1).to_pylist()[0])
    many = f"more than {max_errors} pictures are unusable; the last was: {last.message} ({last.stage}); "
    if _holds_nothing(writer.manifest):
        return (
            f"{many}no images are committed, so nothing is left behind: mend the source, or raise --max-errors, and "
            "run the same again"
        )
    return (
        f"{many}{len(writer)} images are committed in {writer.path}, and the same command carries on from there once "
        "the source is mended, or --max-errors raised"
    )


def _nothing_usable(source: Source, writer: GalleryWriter) -> str:
    if not writer.errors.num_rows:
        return f"{source.name} holds no pictures, so there is no gallery to make; give a source with pictures"
    first = writer.errors.slice(0, 1).to_pylist()[0]
    return (
        f"none of the {writer.errors.num_rows} pictures of {source.name} could be used; the first: {first['message']} "
        f"(stage {first['stage']}); mend the source and build again"
    )
