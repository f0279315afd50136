"""Which row a key stands for, in a gallery that grows: found by bisection, and carried on when younger rows come.

In: the key of every row, removed ones too. Out: the youngest row of a key, which is the only one of it that may still
count. The keys lie in a few sorted runs, each at least twice as long as the next, so that a gallery of a million rows
is not sorted again for every picture that comes. An object never changes what it answers, so any thread may ask it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Run:
    """The keys of some rows that follow each other, in the order of the keys, then of the rows."""

    end: int  # its rows are the ones before this
    keys: Array  # [n]
    rows: Array  # [n]


class Keys:
    """The keys of all rows of a gallery."""

    def __init__(self, of_rows: Array, runs: tuple[_Run, ...] = ()) -> None:
        """Take the key of every row [N]; `runs` are what an older state has sorted of them already."""
        self.of_rows = of_rows
        self._runs = runs  # sorted at the first question, since a search asks none

    def __len__(self) -> int:
        return len(self.of_rows)

    def youngest(self, keys: Array) -> Array:
        """The last row that has each of `keys` [n], counting or not: [n], -1 where no row has it."""
        found = np.full(keys.shape, -1, np.int64)
        for run in self._all_runs():  # from the oldest rows to the youngest
            at = np.searchsorted(run.keys, keys, side="right") - 1
            is_here = (at >= 0) & (run.keys[at] == keys)
            found[is_here] = run.rows[at[is_here]]
        return found

    def followed_by(self, keys: Array, *, start: int | None = None) -> Keys:
        """The same with the keys of younger rows [m], which stand for all from row `start` on (default: behind all)."""
        start = len(self) if start is None else start
        return Keys(np.concatenate([self.of_rows[:start], keys]), _cut(self._runs, start))

    def _all_runs(self) -> tuple[_Run, ...]:
        covered = self._runs[-1].end if self._runs else 0
        if covered < len(self):
            runs = [*self._runs, _run(self.of_rows[covered:], covered)]
            while len(runs) > 1 and len(runs[-2].keys) < 2 * len(runs[-1].keys):
                runs[-2:] = [_merged(*runs[-2:])]
            self._runs = tuple(runs)  # by two threads at once: the same twice
        return self._runs


def _run(keys: Array, first_row: int) -> _Run:
    rows = np.arange(first_row, first_row + len(keys))
    if (keys[1:] >= keys[:-1]).all():  # as those of a source are
        return _Run(first_row + len(keys), keys, rows)
    order = np.argsort(keys, kind="stable")
    return _Run(first_row + len(keys), keys[order], rows[order])


def _merged(older: _Run, younger: _Run) -> _Run:
    """Both as one; among equal keys the younger rows stay behind."""
    at = np.searchsorted(older.keys, younger.keys, side="right")
    keys, rows = np.insert(older.keys, at, younger.keys), np.insert(older.rows, at, younger.rows)
    return _Run(younger.end, keys, rows)


def _cut(runs: tuple[_Run, ...], end: int) -> tuple[_Run, ...]:
    """What of the runs is about rows before `end`."""
    kept = []
    for run in runs:
        if run.end <= end:
            kept.append(run)
            continue
        if (is_in := run.rows < end).any():
            kept.append(_Run(end, run.keys[is_in], run.rows[is_in]))
        break
    return tuple(kept)
