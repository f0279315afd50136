"""An index made in a thread of its own, while the gallery's writer goes on.

In: one state of a gallery. Out: the next generation of its index as a file, for the writer to commit. What is abandoned
ends with the next block of vectors, and writes nothing any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from semblance.gallery.index_update import IndexUpdate
from semblance.gallery.manifest import IndexFile
from semblance.gallery.mapped import MappedTable
from semblance.gallery.rows import Rows


class BackgroundIndex:
    """One index on its way."""

    def __init__(self, update: IndexUpdate, *, threads: int, on_done: Callable[[], None]) -> None:
        """Begin; `on_done` is called in its thread when `is_done` has become true."""
        self.update = update
        self.is_done = False
        self.file: IndexFile | None = None  # None too where the present index is right as it is, or this one failed
        self.error: Exception | None = None
        self._threads = threads
        self._on_done = on_done
        self._is_abandoned = False
        # a process that ends while USearch's threads are at work is aborted, so that this one must be waited for
        self._thread = threading.Thread(target=self._run, name="semblance-index")
        self._thread.start()

    def abandon(self) -> None:
        """End it: waits for the block of vectors or the file that it is at, which nobody will name."""
        self._is_abandoned = True
        self._thread.join()

    def _run(self) -> None:
        update = replace(self.update, rows=_WatchedRows(self.update.rows, self._check))
        try:
            index = update.updated(update.opened(), threads=self._threads, progress=lambda *_: self._check())
            self._check()
            self.file = None if index is None else update.saved(index)
        except _Abandoned:
            return
        except Exception as error:  # whatever it is: searches go on without, as they did before
            self.error = error
        self.is_done = True
        self._on_done()

    def _check(self) -> None:
        if self._is_abandoned:
            raise _Abandoned


class _WatchedRows(Rows):
    """The same rows, that can be refused."""

    def __init__(self, rows: Rows, check: Callable[[], None]) -> None:
        super().__init__(rows.tables, rows.dimension)
        self._check = check

    def _checked(self, table: MappedTable) -> MappedTable:
        self._check()
        return super()._checked(table)


class _Abandoned(Exception):
    """Nobody waits for this index any more."""
