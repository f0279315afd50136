"""Single changes to a gallery, done one after the other, in one commit.

In: pictures to put and keys to remove, in the order in which they were accepted. Out: the answer to each, as if it had
been committed alone. What the gallery cannot hold is refused alone; of several changes to one key only the last is
written.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from semblance.errors import InputError
from semblance.gallery.keypoints import DESCRIPTOR_BYTES, Keypoints
from semblance.gallery.rows import as_keys
from semblance.gallery.shards import Row
from semblance.gallery.stored_keypoints import PictureKeypoints
from semblance.gallery.writer import GalleryWriter


@dataclass(frozen=True, slots=True, eq=False)
class Put:
    """A picture to store; its future says whether its key was new."""

    row: Row
    vector: NDArray[np.float32]  # [1, D], if it is what it should be
    keypoints: Keypoints | None
    future: Future[bool] = field(default_factory=Future)

    @property
    def key(self) -> int:
        return self.row.key


@dataclass(frozen=True, slots=True, eq=False)
class Remove:
    """A key to remove; its future says whether it was there."""

    key: int
    future: Future[bool] = field(default_factory=Future)


Operation = Put | Remove


def commit_operations(writer: GalleryWriter, operations: Sequence[Operation]) -> list[bool | InputError]:
    """Have `operations` take effect, one after the other, in one commit; the answer to each, in their order.

    Raises GalleryError, and InputError for what only the commit itself can find out.
    """
    answers: list[bool | InputError] = []
    last: dict[int, Operation] = {}  # on each key
    was_there: dict[int, bool] = {}  # before the first of them
    for each in operations:
        try:
            key = _checked_key(writer, each)
        except InputError as error:
            answers.append(error)
            continue
        if key not in was_there:
            was_there[key] = writer.contains(key)
        is_there = isinstance(last[key], Put) if key in last else was_there[key]
        answers.append(not is_there if isinstance(each, Put) else is_there)
        last[key] = each
    puts = [each for each in last.values() if isinstance(each, Put)]
    removed = [key for key, each in last.items() if isinstance(each, Remove) and was_there[key]]
    vectors = np.concatenate([np.empty((0, writer.manifest.card.dimension), np.float32), *(put.vector for put in puts)])
    keypoints = [put.keypoints or _no_keypoints() for put in puts] if writer.manifest.has_keypoints else None
    writer.change([put.row for put in puts], vectors, keypoints=keypoints, removed_keys=removed)
    return answers


def _checked_key(writer: GalleryWriter, operation: Operation) -> int:
    """The key of an operation that can be done. Raises InputError."""
    if isinstance(operation, Remove):
        return int(as_keys([operation.key])[0])
    keypoints = None if operation.keypoints is None else [operation.keypoints]
    writer.check_rows([operation.row], operation.vector, keypoints)
    return operation.key


def _no_keypoints() -> Keypoints:
    none = np.empty(0, np.float32)
    return PictureKeypoints(none.reshape(0, 2), none, none, none, np.empty((0, DESCRIPTOR_BYTES), np.uint8))
