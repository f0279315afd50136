"""Many callers, one gallery: pictures put and removed from any thread, in groups, each acknowledged when it is durable.

One thread writes, and holds the gallery's lock from `start` to `stop`. Whatever waits when it is free goes into one
commit, so that a hundred callers at a time wait for one flush of the disk, not for a hundred. A future is resolved
after the files of its commit and the manifest that names them have been flushed and renamed into place: what was
acknowledged is there after SIGKILL and after a loss of power.

Operations on one key take effect in the order in which they were accepted. Whatever is wrong with one picture fails it
alone; a commit that fails, as on a full disk, fails its group, and the next group begins from what is on the disk.

Between commits the same thread looks after the gallery (maintenance.py). An acknowledgement may have to wait for small
shards being joined, which takes as long as writing one full shard, and for a compaction, which takes as long as writing
the whole gallery and building its index; it does not wait for an index otherwise, which is made in another thread.
Where `on_commit` refreshes a reader, it waits for that too: after a new index for as long as its file takes to be read
once and compared with its checksum.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from semblance.errors import Closed, GalleryError, InputError, Overloaded
from semblance.gallery.keypoints import Keypoints
from semblance.gallery.maintenance import Maintenance, Thresholds
from semblance.gallery.operations import Operation, Put, Remove, commit_operations
from semblance.gallery.shards import Row
from semblance.gallery.writer import GalleryWriter
from semblance.options import checked_count

OnCommit = Callable[[int, float], None]

_log = logging.getLogger(__name__)


class GroupCommits:
    """The only writer of a gallery, for callers in any thread.

    >>> with GroupCommits(path) as commits:  # doctest: +SKIP
    ...     commits.put(Row(7, "7.jpg", sha256, 640, 480), vector).result()
    True
    """

    def __init__(
        self,
        path: Path,
        *,
        max_pending: int = 1024,
        on_commit: OnCommit | None = None,
        thresholds: Thresholds | None = None,
    ) -> None:
        """Write the gallery at `path`, from `start` on.

        At most `max_pending` operations wait or are being committed at a time. `on_commit(num_operations, seconds)` is
        called in the writing thread after each commit, before its futures are resolved, so that a view of the gallery
        can be refreshed first; after a commit of upkeep it is called with 0 operations. It must be quick, since the
        next group waits for it.
        """
        self.path = Path(path)
        self.max_pending = checked_count("max_pending", max_pending)
        self.on_commit = on_commit
        self._waiting: deque[Operation] = deque()
        self._num_committing = 0
        self._changed = threading.Condition()
        self._is_accepting = False
        self._has_news = True  # for the upkeep
        self._thread: threading.Thread | None = None
        self._writer: GalleryWriter | None = None  # from `start` on
        self._is_stale = False  # after a failure nobody knows what of it came to the disk
        self._maintenance = Maintenance(thresholds or Thresholds(), self._wake)

    def start(self) -> GroupCommits:
        """Take the gallery's lock and begin.

        Raises GalleryError where another one writes, or a source was not taken to its end; Closed for a second start.
        """
        if self._thread is not None:
            raise Closed(f"the writer of {self.path} starts once; make another")
        with ExitStack() as stack:
            self._writer = stack.enter_context(GalleryWriter.open(self.path))
            self._writer.check_finished()
            held = stack.pop_all()
        self._thread = threading.Thread(target=self._run, args=(held,), name="semblance-commits", daemon=True)
        self._is_accepting = True
        self._thread.start()
        return self

    def stop(self, drain_s: float = 30.0) -> None:
        """Accept nothing more, commit what is pending for up to `drain_s` seconds, and let go of the lock.

        What has not begun by then ends with Closed. A commit that has begun is finished, also one of upkeep: of a large
        gallery a compaction takes minutes. An index that is on its way is given up.
        """
        thread = self._thread
        with self._changed:
            self._is_accepting = False
            self._changed.notify_all()
        if thread is None:
            return
        thread.join(max(0.0, drain_s))
        self._refuse_waiting()
        thread.join()

    def __enter__(self) -> GroupCommits:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def is_accepting(self) -> bool:
        """Whether changes are taken: from `start` to `stop`, unless the thread that writes met an error of ours."""
        return self._is_accepting

    @property
    def num_pending(self) -> int:
        """Operations that were accepted and are not resolved yet."""
        return len(self._waiting) + self._num_committing

    def put(self, row: Row, vector: NDArray[np.float32], keypoints: Keypoints | None = None) -> Future[bool]:
        """Store a picture with its `vector` [D] float32, in place of one of the same key; whether its key was new.

        In a gallery with keypoints, `keypoints` are the picture's; without them it has none. The future raises
        InputError for what the gallery cannot hold, GalleryError where the commit failed, Closed where `stop` came
        first; it may be cancelled until its turn comes. Raises Overloaded, Closed.
        """
        values = vector[None].copy() if isinstance(vector, np.ndarray) and vector.ndim == 1 else vector
        return self._accept(Put(row, values, keypoints))

    def remove(self, key: int) -> Future[bool]:
        """Remove a picture; whether there was one. As `put`."""
        return self._accept(Remove(key))

    def _accept(self, operation: Operation) -> Future[bool]:
        with self._changed:
            if not self._is_accepting:
                state = "was stopped" if self._thread is not None else "was not started"
                raise Closed(f"the writer of {self.path} {state}; nothing can be put or removed")
            if self.num_pending >= self.max_pending:
                raise Overloaded(f"{self.num_pending} changes are pending, which is all that may be; try again later")
            self._waiting.append(operation)
            self._changed.notify_all()
        return operation.future

    # In the writing thread --------------------------------------------------------------------------------------------

    def _run(self, held: ExitStack) -> None:
        try:
            with held:
                try:
                    while self._turn():
                        pass
                finally:
                    self._maintenance.abandon()  # before the lock goes, since it may be writing a file
        except BaseException:
            _log.exception("the writer of %s ended", self.path)
            raise
        finally:
            self._is_accepting = False
            self._refuse_waiting()

    def _turn(self) -> bool:
        """Commit what waits, or do what upkeep has to do; False where it is time to end."""
        with self._changed:
            while self._is_accepting and not self._waiting and not self._has_news:
                self._changed.wait()
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._largest_group()))]
            self._num_committing = len(group)
            is_ending = not self._is_accepting
        if group:
            self._commit(group)
            with self._changed:
                self._num_committing = 0
        if is_ending:
            return bool(group)
        self._has_news = False  # before looking: what comes meanwhile is news again
        if self._maintain():
            self._has_news = True
        return True

    def _largest_group(self) -> int:
        assert self._writer is not None
        manifest = self._writer.manifest
        # the first picture of all decides the gallery's columns
        return 1 if manifest.columns is None else int(manifest.options["shard_rows"])

    def _commit(self, group: Sequence[Operation]) -> None:
        """Commit a group and resolve its futures, but for those that were cancelled. Never raises."""
        taken = [each for each in group if each.future.set_running_or_notify_cancel()]
        if taken:
            self._commit_taken(taken)

    def _commit_taken(self, taken: Sequence[Operation]) -> None:
        started = time.perf_counter()
        try:
            writer = self._current()
            before = writer.manifest
            answers = commit_operations(writer, taken)
        except InputError as error:  # of one that only the commit could find out about
            if len(taken) == 1:
                taken[0].future.set_exception(error)
                return
            for each in taken:
                self._commit_taken([each])
            return
        except Exception as error:
            _log.error("a commit of %d changes to %s failed: %s", len(taken), self.path, error)
            self._is_stale = True
            failed = error if isinstance(error, GalleryError) else GalleryError(f"{self.path}: {error!r}")
            for each in taken:
                each.future.set_exception(failed)
            return
        if writer.manifest is not before:
            self._tell(len(taken), time.perf_counter() - started)
        for each, answer in zip(taken, answers, strict=True):
            if isinstance(answer, InputError):
                each.future.set_exception(answer)
            else:
                each.future.set_result(answer)

    def _maintain(self) -> bool:
        """One step of upkeep; whether there may be more of it."""
        started = time.perf_counter()
        try:
            if not self._maintenance.step(self._current()):
                return False
        except Exception:  # it is in the log, and the gallery does without
            self._is_stale = True
            return False
        self._tell(0, time.perf_counter() - started)
        return True

    def _current(self) -> GalleryWriter:
        """The writer, with the gallery as it is on the disk. Raises GalleryError."""
        assert self._writer is not None
        if self._is_stale:
            self._writer.reload()
            self._is_stale = False
        return self._writer

    def _tell(self, num_operations: int, seconds: float) -> None:
        if self.on_commit is None:
            return
        try:
            self.on_commit(num_operations, seconds)
        except Exception:  # the commit is done, whoever hears of it
            _log.exception("on_commit of %s failed", self.path)

    def _wake(self) -> None:
        with self._changed:
            self._has_news = True
            self._changed.notify_all()

    def _refuse_waiting(self) -> None:
        with self._changed:
            refused = list(self._waiting)
            self._waiting.clear()
        for each in refused:
            if each.future.set_running_or_notify_cancel():
                each.future.set_exception(Closed(f"the writer of {self.path} stopped before this change was begun"))
