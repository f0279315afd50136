"""The index of a gallery brought up to date, from one state of it that does not change meanwhile.

In: the manifest, the rows and which of them count, as a writer has them at some moment. Out: the next generation of the
index as a file that no manifest names yet. The present one is changed, or a new one is built where that is better.
Nothing here touches the writer, so that it may run in another thread while rows come and go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance.errors import GalleryError, InputError
from semblance.files import sync_folder
from semblance.gallery.folder import writing
from semblance.gallery.generation import open_index
from semblance.gallery.index import VectorIndex
from semblance.gallery.index_options import IndexOptions, choose_type
from semblance.gallery.manifest import IndexFile, Manifest
from semblance.gallery.rows import Rows

Progress = Callable[[int, int], None]

# Measured (`python -m bench.million`): an index of which 10 % was removed answers as well as before; one that
# changed by half is built again as fast as it is changed
_REBUILT_FROM = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexUpdate:
    """What the next index is made from."""

    path: Path  # of the gallery
    manifest: Manifest  # of which the present index, the options and the metric are taken
    rows: Rows
    alive: NDArray[np.bool_]  # [N]

    def opened(self) -> VectorIndex | None:
        """The present index, in memory, where there is one that can be used."""
        try:
            return open_index(self.path, self.manifest, mmap=False)
        except GalleryError as error:  # nothing is lost: all of it is in the shards
            _log.warning("%s", error)
            return None

    def updated(
        self, index: VectorIndex | None, *, threads: int, progress: Progress | None = None
    ) -> VectorIndex | None:
        """An index of all rows that count, from the present `index` in memory; None where that one is right as it is.

        Raises InputError where the number type that the gallery's options name cannot hold a vector.
        """
        if index is not None and self._num_changes(index) == 0:
            return None
        if index is not None and self._change(index, threads):
            return index
        return self.built(threads=threads, progress=progress)

    def built(self, *, threads: int, progress: Progress | None = None) -> VectorIndex:
        """A new index of all rows that count, of which there is one at least. Raises InputError."""
        options, metric, blocks = dict(self.manifest.options["index"]), self.manifest.card.metric, self.rows.blocks()
        if options["dtype"] is None:  # whoever searches a gallery has the stored vectors decide
            options["dtype"] = choose_type(blocks, metric, self.alive, is_rescored=True)
        return VectorIndex.build(
            blocks,
            metric=metric,
            alive=self.alive,
            threads=1 if options.pop("deterministic") else threads,
            progress=progress,
            **asdict(IndexOptions(**options)),
        )

    def saved(self, index: VectorIndex) -> IndexFile:
        """The index as its next generation, which no manifest names yet. Raises GalleryError."""
        generation = self.manifest.index.generation + 1 if self.manifest.index else 1
        name = f"index/{generation:06d}.usearch"
        with writing(self.path):
            (self.path / "index").mkdir(exist_ok=True)
            sync_folder(self.path)
            written = index.save(self.path / name)
        return IndexFile(generation, name, len(self.rows), written.num_bytes, written.sha256, index.factor)

    def _num_changes(self, index: VectorIndex) -> int:
        """How many rows came and went since `index` was made."""
        assert self.manifest.index is not None
        covered = self.manifest.index.num_rows
        return int(self.alive[covered:].sum()) + len(index) - int(self.alive[:covered].sum())

    def _change(self, index: VectorIndex, threads: int) -> bool:
        """Bring `index` up to date; False, and the index of no more use, where a new one is better."""
        assert self.manifest.index is not None
        covered = self.manifest.index.num_rows
        if self._num_changes(index) > _REBUILT_FROM * self.alive.sum():
            return False
        threads = 1 if self.manifest.options["index"]["deterministic"] else threads
        index.remove(np.flatnonzero(~self.alive[:covered]))
        takes_places = index.num_free > 0 and self.alive[covered:].any()
        try:
            index.add(self.rows.blocks(covered), first_row=covered, alive=self.alive[covered:], threads=threads)
        except InputError:  # its number type cannot hold a new vector; the next one's will
            return False
        if takes_places:
            # Measured, 400 x 3-d, a fifth replaced at a time: up to 6 of the other rows were lost each time
            index.repair(self.rows.blocks(), alive=self.alive, threads=threads)
        return True
