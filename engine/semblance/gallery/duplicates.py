"""Near-duplicates: rows that hang together by pairs at a small distance, and the report that names them.

In: vectors, or pairs of rows as they come from pairs.py, in any number of pieces. Out: groups, the connected
components of the pairs, each row with the distance to its nearest other member; and a table of them as CSV or
Parquet. Pairs are folded as they come and forgotten, so memory goes by the rows, however many pairs there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from semblance.card import Metric
from semblance.errors import InputError
from semblance.files import write_aside
from semblance.gallery.distances import Doubles
from semblance.gallery.pairs import Pairs, Progress, checked_distance, spanning_pairs
from semblance.gallery.tiles import Blocks, Bools, Floats, Rows
from semblance.options import checked_count

Search = Callable[[Floats, int], tuple[Rows, Floats, Rows]]

_QUERY_RESULTS = 1 << 20  # neighbours asked for at once


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows that are near-duplicates: by group, then by row; groups are numbered from 0 in the order of their first."""

    rows: Rows  # [M]
    group: Rows  # [M] ascending
    distance: Floats  # [M] to the nearest other member

    @property
    def num_groups(self) -> int:
        """How many there are."""
        return int(self.group[-1]) + 1 if len(self.group) else 0

    @property
    def is_first(self) -> Bools:
        """Whether a row is the first of its group, the one to keep: [M]."""
        return np.append(True, np.diff(self.group) > 0)[: len(self.group)]


def group(pairs: Iterable[Pairs], num_rows: int) -> Groups:
    """The connected components of `pairs` (rows_a [n], rows_b [n], distances [n], in pieces) among `num_rows` rows.

    A pair may come twice, and either way round. Rows in no pair are in no group.
    """
    forest = _Forest(num_rows)
    for rows_a, rows_b, distances in pairs:
        forest.add(rows_a, rows_b, distances)
    return forest.groups()


def near_groups(
    blocks: Blocks,
    *,
    metric: Metric,
    distance: float,
    alive: Bools | None = None,
    progress: Progress | None = None,
) -> Groups:
    """`group` of all `near_pairs`, the same to the bit, without the pairs that can change nothing.

    Those are the pairs of rows that hang together already and have nearer members than each other. So the dense case,
    where nearly all rows are near each other, costs little more than the comparisons. Raises InputError as
    `near_pairs` does.
    """
    forest = _Forest(sum(len(block) for block in blocks))
    for pairs in spanning_pairs(
        blocks, metric=metric, distance=distance, wanted=forest.wants, alive=alive, progress=progress
    ):
        forest.add(*pairs)
    return forest.groups()


def near_pairs_by_index(
    search: Search,
    blocks: Blocks,
    *,
    metric: Metric,
    distance: float,
    alive: Bools | None = None,
    k: int = 16,
    most: int = 1024,
    progress: Progress | None = None,
) -> Iterator[Pairs]:
    """Pairs of rows at `distance` or nearer that an index finds: for galleries that are too large for `near_pairs`.

    `search(queries [Q, D], k)` gives rows [Q, k], distances [Q, k] ascending and counts [Q], as VectorIndex.search
    does. Every row asks for its k nearest; k doubles for those whose last neighbour is still within the distance, up
    to `most`. This MAY MISS PAIRS: those the index does not find, those beyond `most`, and under "cos" those of zero
    vectors. Distances are the search's own, in float32: for identical rows they may be a little above 0. A pair may
    come twice, once from either row, which `group` does not mind. `progress(done, total)` counts rows.
    """
    k, most = checked_count("k", k), checked_count("most", most)
    limit = np.float32(checked_distance(distance))
    num_rows = sum(len(block) for block in blocks)
    asking = np.ones(num_rows, np.bool_) if alive is None else alive
    if asking.shape != (num_rows,) or asking.dtype != np.bool_:
        raise InputError(f"alive must be bool [{num_rows}], is {asking.dtype} {list(asking.shape)}")
    most = min(most, int(asking.sum()))
    first = 0
    for block in blocks:
        at_once = max(1, _QUERY_RESULTS // max(k, 1))
        for start in range(0, len(block), at_once):
            vectors = np.asarray(block[start : start + at_once], np.float32)
            rows = np.arange(first + start, first + start + len(vectors))
            keep = asking[rows] & (vectors.any(axis=1) if metric == "cos" else True)
            yield from _found(search, rows[keep], vectors[keep], asking, limit, min(k, most), most)
            if progress is not None:
                progress(int(rows[-1]) + 1, num_rows)
        first += len(block)


def _found(
    search: Search, rows: Rows, vectors: Floats, alive: Bools, distance: np.float32, k: int, most: int
) -> Iterator[Pairs]:
    """The neighbours of `rows` within a distance, in pieces of bounded size; k grows for those that need it."""
    while len(rows):
        at_once = max(1, _QUERY_RESULTS // k)
        unfinished = np.zeros(len(rows), np.bool_)
        for start in range(0, len(rows), at_once):
            own = rows[start : start + at_once]
            found, distances, counts = search(vectors[start : start + at_once], k)
            is_full = (counts == k) & (distances[:, -1] <= distance) & (k < most)
            unfinished[start : start + at_once] = is_full
            is_near = (np.arange(k) < counts[:, None]) & (distances <= distance) & ~is_full[:, None]
            query, rank = np.nonzero(is_near)
            one, other = own[query], found[query, rank]
            keep = alive[other] & (one != other)
            one, other = one[keep], other[keep]
            yield np.minimum(one, other), np.maximum(one, other), distances[query, rank][keep]
        rows, vectors = rows[unfinished], vectors[unfinished]
        k = min(2 * k, most)


def write_report(
    path: Path, groups: Groups, *, keys: NDArray[np.int64], uris: Sequence[str], labels: Sequence[str | None]
) -> None:
    """Write the members of `groups` as a table, CSV or Parquet by the suffix of `path`, in the place of what was there.

    `keys` [M], `uris` and `labels` are those of `groups.rows`, in their order. Columns: group, key, uri, label,
    distance (to the nearest other member), keep (true for the first of each group). Raises InputError for another
    suffix and for a folder that is not there.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise InputError(f"a report is written as .csv or .parquet, {path} is neither; give it one of the two")
    if not path.parent.is_dir():
        raise InputError(f"the folder of {path} does not exist; make it first")
    assert len(groups.rows) == len(keys) == len(uris) == len(labels)
    table = pa.table(
        {
            "group": pa.array(groups.group, pa.int64()),
            "key": pa.array(keys, pa.int64()),
            "uri": pa.array(uris, pa.string()),
            "label": pa.array(labels, pa.string()),
            "distance": pa.array(groups.distance, pa.float32()),
            "keep": pa.array(groups.is_first, pa.bool_()),
        }
    )

    def write(aside: Path) -> None:
        if suffix == ".csv":
            pyarrow.csv.write_csv(table, aside)
        else:
            pyarrow.parquet.write_table(table, aside)

    write_aside(path, write)


# ------------------------------------------------------------------------------------------------------------------


class _Forest:
    """Rows that hang together so far, and each one's distance to the nearest."""

    def __init__(self, num_rows: int) -> None:
        self._parents = np.arange(num_rows, dtype=np.int64)  # never above the row itself; a root is its group's first
        self._nearest = np.full(num_rows, np.inf, np.float32)

    def wants(self, rows_a: Rows, rows_b: Rows, least: Doubles) -> Bools:
        """Whether pairs, at distances of at least `least`, could change anything."""
        nearest = np.maximum(self._nearest[rows_a], self._nearest[rows_b])
        wanted: Bools = least < nearest
        at = np.flatnonzero(~wanted)
        wanted[at] = self._roots(rows_a[at]) != self._roots(rows_b[at])
        return wanted

    def add(self, rows_a: Rows, rows_b: Rows, distances: Floats) -> None:
        """Join pairs."""
        for rows in (rows_a, rows_b):
            nearer = distances < self._nearest[rows]
            np.minimum.at(self._nearest, rows[nearer], distances[nearer])
        one, other = self._roots(rows_a), self._roots(rows_b)
        # Each round hangs every root that is paired with a lower one below the lowest such: O(log^2 n) rounds
        # (Liu and Tarjan, Simple concurrent labeling algorithms for connected components, 2019).
        while (apart := one != other).any():
            one, other = one[apart], other[apart]
            low, high = np.minimum(one, other), np.maximum(one, other)
            np.minimum.at(self._parents, high, low)
            self._shorten(np.unique(high))
            one, other = self._roots(low), self._roots(high)

    def groups(self) -> Groups:
        """Those of two rows or more."""
        roots = self._roots(np.arange(len(self._parents)))
        members = np.flatnonzero(np.bincount(roots, minlength=len(roots))[roots] > 1)
        rows = members[np.argsort(roots[members], kind="stable")]
        number = np.cumsum(np.append(0, np.diff(roots[rows]) > 0)[: len(rows)])
        return Groups(rows, number.astype(np.int64), self._nearest[rows])

    def _roots(self, rows: Rows) -> Rows:
        roots = self._parents[rows]
        while not np.array_equal(above := self._parents[roots], roots):
            roots = above
        self._parents[rows] = roots
        return roots

    def _shorten(self, rows: Rows) -> None:
        """Point `rows` at their roots, halving the way each time: a chain of a million takes twenty steps."""
        while not np.array_equal(above := self._parents[self._parents[rows]], self._parents[rows]):
            self._parents[rows] = above
