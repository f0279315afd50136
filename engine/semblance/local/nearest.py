"""The two nearest train descriptors of each query descriptor, exactly, in integers, set by set.

In: query descriptors [M, 128] and sets of train descriptors, uint8. Out: for those pairs of a query and a set that the
caller wants to know more of, the nearest one, and the squared distances of it and of the second-nearest.

Squared distances of SIFT's bytes are integers below 2^23 (128 times 255^2), so a product of bytes gives them without
any rounding: |a|^2 + |b|^2 - 2 a.b. A tile of queries against a tile of train descriptors is one run of a graph that
gives the minima over groups of 16 scores, of which the two smallest leave it; a tile's scores never leave the cache.
The second of these is no smaller than the second-nearest distance, so the caller can drop most pairs by it; only the
others have the 16 distances of their best group computed one by one.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from semblance.errors import BackendError
from semblance.inference import backends
from semblance.local.descriptors import DIMENSION, Descriptors, DescriptorSets

T = TypeVar("T")
R = TypeVar("R")
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NONE = 1 << 40  # the squared distance of what is not there

_MEMBERS = 16  # scores under one minimum
_FAR = np.float32(1 << 25)  # of a column that only fills a tile: above every score, and exact
_NARROWEST = 2 * _MEMBERS  # columns of a part: two minima leave the graph
# Pairs of descriptors that are one run, which the runtime's own threads share: 750 x 750 take them .35 ms, one thread
# .57 and two of ours, which have to wake each other and take turns in Python, .52 to .59
_ONE_RUN = 1 << 20
_SQUARED = 4096  # descriptors whose norms are computed together
_INSIDE = 256  # pairs looked at one by one together: 512 kB of bytes, 2 MB of floats


@dataclass(frozen=True, slots=True)
class _Shape:
    """How much one run of a graph is given."""

    rows: int
    columns: int


# Measured on two cores with 1 MB of second-level cache each, 4,000 x 4,000: rows x columns 512 x 1,024 8.8 ms, 256 x
# 512 10.8, 2,000 x 4,000 11.1. A GPU has room for all of a tile's scores and pays for each start.
_SHAPES = {"cpu": _Shape(512, 1024)}
_GPU_SHAPE = _Shape(4096, 16384)


@dataclass(frozen=True, slots=True)
class Nearest:
    """Pairs of a query and a set, in no order, each [P]."""

    row: Ints  # of the query
    set: Ints
    index: Ints  # of the nearest in its set; the lowest of equal ones
    first: Ints  # squared distances of the nearest
    second: Ints  # and of the second-nearest, NONE where there is none

    def where(self, stays: Bools) -> Nearest:
        """Those pairs that are True in `stays` [P]."""
        return Nearest(self.row[stays], self.set[stays], self.index[stays], self.first[stays], self.second[stays])


@dataclass(frozen=True, slots=True)
class _Tile:
    """Parts of sets, side by side, each as wide as the others."""

    sets: Ints  # [I]
    begins: Ints  # [I] of each part, among all descriptors
    counts: Ints  # [I] descriptors of each part
    width: int  # columns of each part, a multiple of _MEMBERS
    columns: NDArray[np.int8]  # [I * width, 128] each byte less 128
    bias: NDArray[np.float32]  # [I * width] squared norms

    @property
    def num_groups(self) -> int:
        return self.width // _MEMBERS


@dataclass(frozen=True, slots=True)
class _Queries:
    """Query descriptors, and what the arithmetic needs of them."""

    descriptors: Descriptors  # [M, 128]
    squares: Ints  # [M] squared norms
    sums: NDArray[np.int32]  # [M] of the bytes


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of a query and a set that are to be looked at one by one, each [P]."""

    row: Ints  # of the query
    set: Ints
    begin: Ints  # of the part of the set that has the nearest, among all descriptors
    count: Ints  # descriptors of that part
    num_groups: Ints  # in its tile
    group: Ints  # the best of them
    second: Ints  # the smallest squared distance in any other group or part

    def take(self, part: slice) -> _Pairs:
        """Some of them."""
        return _Pairs(*(getattr(self, name)[part] for name in self.__slots__))

    @classmethod
    def join(cls, parts: Sequence[_Pairs]) -> _Pairs:
        """All of several."""
        if len(parts) == 1:
            return parts[0]
        none = np.empty(0, np.int64)
        return cls(*(np.concatenate([none, *(getattr(each, name) for each in parts)]) for name in cls.__slots__))


# squared distances [...] of the nearest, and what the second-nearest is no further than -> which pairs stay
Keep = Callable[[Ints, Ints], Bools]


class Searcher:
    """A backend with a graph loaded, and threads to run it from."""

    def __init__(self, backend: str, threads: int) -> None:
        """`threads` run side by side on a CPU. Raises BackendError, RuntimeMissing."""
        name = backends.chosen(backend)
        self._shape = _SHAPES.get(name, _GPU_SHAPE)
        # operands of 8 bits and sums below 2^24 stay whole in TF32
        options = {"use_tf32": "1"} if name == "cuda" else None
        graph = "bytes" if name == "cpu" else "floats"
        self._session = _session(graph, name, options)
        if name == "cpu" and not _is_exact(self._session):
            graph = "floats"
            self._session = _session(graph, name)
        if not _is_exact(self._session):
            raise BackendError(f"backend {name!r} does not multiply bytes exactly here; match with --backend cpu")
        self._backend, self._failures = name, backends.failures()
        self._threads = threads if name == "cpu" else 1
        self._whole = self._session  # for what is one run: there the runtime shares the work out among its own threads
        if self._threads > 1:
            self._whole = _session(graph, name, threads=self._threads)
            _WITH_THREADS.add(self._whole)
        # the caller's thread is one of them: it would only wait, and to wake another takes as long as a small picture
        self._pool = ThreadPoolExecutor(max(1, self._threads - 1), thread_name_prefix="semblance-match")

    def search(self, queries: Descriptors, train: DescriptorSets, keep: Keep) -> Nearest:
        """What `keep` does not drop of all pairs of a query [M, 128] and a set with a descriptor or more."""
        squares = self._squares(train.descriptors)
        asked = _Queries(queries, self._squares(queries), queries.sum(axis=1, dtype=np.int32))
        plans = _plans(train.counts, self._shape.columns)
        units = self._all(lambda plan: [_tile(train, squares, parts) for parts in plan], plans)
        rows, session = self._shape.rows, self._session
        if len(queries) * len(train.descriptors) < _ONE_RUN:
            rows = max(rows, len(queries))
            session = self._whole if len(units) == 1 else session
        elif len(units) < self._threads:  # too few of them to share out
            rows = min(rows, -(-len(queries) // self._threads))
        tasks = [(slice(start, start + rows), unit) for start in range(0, len(queries), rows) for unit in units]
        left = _Pairs.join(self._all(lambda task: self._left(session, asked, *task, keep), tasks))
        parts = [left.take(slice(start, start + _INSIDE)) for start in range(0, len(left.row), _INSIDE)]
        return _joined(self._all(lambda part: _inside(asked, train, squares, part), parts))

    def _left(self, session: Any, asked: _Queries, part: slice, unit: Sequence[_Tile], keep: Keep) -> _Pairs:
        """Some queries against one tile of several sets, or against several tiles of one set."""
        first, second, group = self._minima(session, asked, part, unit[0])  # [m, I]
        at = np.zeros(first.shape, np.int64)
        for number, tile in enumerate(unit[1:], start=1):  # parts of one set: I is 1
            other_first, other_second, other_group = self._minima(session, asked, part, tile)
            is_nearer = other_first < first
            second = np.where(is_nearer, np.minimum(first, other_second), np.minimum(second, other_first))
            first, group = np.where(is_nearer, other_first, first), np.where(is_nearer, other_group, group)
            at = np.where(is_nearer, number, at)
        row, column = np.nonzero(keep(first, second))
        at = at[row, column]
        return _Pairs(
            row=row + part.start,
            set=unit[0].sets[column],
            begin=np.stack([tile.begins for tile in unit])[at, column],
            count=np.stack([tile.counts for tile in unit])[at, column],
            num_groups=np.array([tile.num_groups for tile in unit])[at],
            group=group[row, column],
            second=second[row, column],
        )

    def _minima(self, session: Any, asked: _Queries, part: slice, tile: _Tile) -> tuple[Ints, Ints, Ints]:
        """Squared distances [m, I] of the two smallest group minima, and the group of the smallest."""
        shape = np.array([0, len(tile.sets), _MEMBERS, tile.num_groups])
        given = {"a": asked.descriptors[part], "b": tile.columns, "bias": tile.bias, "shape": shape}
        try:
            score, group = session.run(["score", "group"], given)
        except self._failures as error:
            said = str(error).strip().partition("\n")[0]
            raise BackendError(f"backend {self._backend!r} failed while matching: {said}") from error
        # a score is |b|^2 - 2 a.(b - 128): add |a|^2, and take off what the 128 left in it
        distances = score.astype(np.int64) + (asked.squares[part] - 256 * asked.sums[part])[:, None, None]
        distances[score >= _FAR / 2] = NONE
        return distances[..., 0], distances[..., 1], group[..., 0]

    def _squares(self, descriptors: Descriptors) -> Ints:
        """Squared norms [K]: sums of 128 integers below 2^24, which float32 adds exactly."""
        return np.concatenate([np.empty(0, np.int64), *self._all(_squares, _pieces(descriptors))])

    def _all(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """`work` of each item, in order, in threads where that pays."""
        items = list(items)
        if len(items) <= 1 or self._threads == 1:
            return [work(item) for item in items]
        found: dict[int, R] = {}
        left = iter(enumerate(items))  # which the threads take from one by one; `next` of it is atomic

        def take() -> None:
            for number, item in left:
                found[number] = work(item)

        others = [self._pool.submit(take) for _ in range(min(self._threads, len(items)) - 1)]
        try:
            take()
        finally:
            for other in others:
                other.cancel()  # one that has not begun, when all is done
            wait(others)
        for other in others:
            if not other.cancelled():
                other.result()
        return [found[number] for number in range(len(items))]


@lru_cache(maxsize=8)
def searcher(backend: str, threads: int) -> Searcher:
    """The `Searcher` for these, made once: loading a graph takes longer than matching two pictures."""
    return Searcher(backend, threads)


# Sessions with threads of their own
_WITH_THREADS: weakref.WeakSet[Any] = weakref.WeakSet()


def _begin_anew() -> None:
    """In a forked child, which has its parent's searchers and none of their threads: forget them.

    A session waits at its end for its threads, here for ever, so those are never let go. ONNX Runtime itself waits as
    well where a child ends by `sys.exit`, whatever session its parent had; those of multiprocessing do not.
    """
    for session in _WITH_THREADS:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    _WITH_THREADS.clear()
    searcher.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def graphs_folder() -> Path:
    """Where the graphs lie: inside the package."""
    return Path(__file__).parent / "graphs"


def _session(graph: str, backend: str, options: Mapping[str, str] | None = None, *, threads: int = 1) -> Any:
    # threads that spin would take the processors from those that matching itself has, and from whatever comes next
    graph_file = graphs_folder() / f"{graph}.onnx"
    return backends.open_session(graph_file, backend, threads=threads, spinning=False, options=options)


def _is_exact(session: Any) -> bool:
    """Whether the largest products come out whole: some processors add two of them in 16 bits and cut the sum off."""
    given = {
        "a": np.full((_MEMBERS, DIMENSION), 255, np.uint8),
        "b": np.full((_NARROWEST, DIMENSION), 127, np.int8),
        "bias": np.zeros(_NARROWEST, np.float32),
        "shape": np.array([0, 1, _MEMBERS, _NARROWEST // _MEMBERS]),
    }
    (score,) = session.run(["score"], given)
    return bool((score == -2 * DIMENSION * 255 * 127).all())


# ------------------------------------------------------------------------------------------------------------------
# Sets into tiles


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a tile is to hold."""

    sets: Ints  # [I]
    starts: Ints  # [I] in their sets
    counts: Ints  # [I]
    width: int


def _plans(counts: Ints, columns: int) -> list[list[_Parts]]:
    """Tiles of sets of `counts` [S] descriptors: several sets of about one size in a tile, or one set in several."""
    plans, start = [], 0
    small = np.flatnonzero((counts > 0) & (counts <= columns))
    small = small[np.argsort(-counts[small], kind="stable")]
    while start < len(small):
        width = max(_NARROWEST, -(-int(counts[small[start]]) // _MEMBERS) * _MEMBERS)  # the largest of the tile decides
        some = small[start : start + max(1, columns // width)]
        plans.append([_Parts(some, np.zeros(len(some), np.int64), counts[some], width)])
        start += len(some)
    for number in np.flatnonzero(counts > columns).tolist():
        count = int(counts[number])
        size = -(-count // -(-count // columns))
        width = -(-size // _MEMBERS) * _MEMBERS
        plans.append(
            [
                _Parts(np.array([number]), np.array([start]), np.array([min(size, count - start)]), width)
                for start in range(0, count, size)
            ]
        )
    return plans


def _tile(train: DescriptorSets, squares: Ints, parts: _Parts) -> _Tile:
    begins = train.offsets[parts.sets] + parts.starts
    columns = np.zeros((len(parts.sets), parts.width, DIMENSION), np.int8)
    bias = np.full((len(parts.sets), parts.width), _FAR, np.float32)
    for number, (begin, count) in enumerate(zip(begins.tolist(), parts.counts.tolist(), strict=True)):
        # less 128, as signed bytes, is the highest bit turned over
        np.bitwise_xor(
            train.descriptors[begin : begin + count], np.uint8(128), out=columns[number, :count].view(np.uint8)
        )
        bias[number, :count] = squares[begin : begin + count]
    return _Tile(parts.sets, begins, parts.counts, parts.width, columns.reshape(-1, DIMENSION), bias.reshape(-1))


def _pieces(descriptors: Descriptors) -> list[Descriptors]:
    return [descriptors[start : start + _SQUARED] for start in range(0, len(descriptors), _SQUARED)]


def _squares(descriptors: Descriptors) -> Ints:
    floats = descriptors.astype(np.float32)
    squares: Ints = np.vecdot(floats, floats).astype(np.int64)
    return squares


# ------------------------------------------------------------------------------------------------------------------
# Pairs, one by one


def _inside(asked: _Queries, train: DescriptorSets, squares: Ints, pairs: _Pairs) -> Nearest:
    """All distances of each pair's group: the nearest, and with what other groups have the second-nearest."""
    member = pairs.group[:, None] + pairs.num_groups[:, None] * np.arange(_MEMBERS)  # [P, 16]
    is_there = member < pairs.count[:, None]
    at = pairs.begin[:, None] + np.where(is_there, member, 0)
    query = asked.descriptors[pairs.row].astype(np.float32)
    # each product is an integer below 2^24, so float32 is exact
    products = np.vecdot(np.take(train.descriptors, at, axis=0).astype(np.float32), query[:, None]).astype(np.int64)
    distances = asked.squares[pairs.row, None] + squares[at] - 2 * products
    distances[~is_there] = NONE
    best = distances.argmin(axis=1)
    first, runner_up = np.partition(distances, 1, axis=1)[:, :2].T
    index = member[np.arange(len(member)), best] + pairs.begin - train.offsets[pairs.set]
    for tied in np.flatnonzero(pairs.second == first):  # with one in another group, which may have a lower index
        differences = train[int(pairs.set[tied])].astype(np.int64) - asked.descriptors[pairs.row[tied]]
        index[tied] = (differences**2).sum(axis=1).argmin()
    return Nearest(pairs.row, pairs.set, index, first, np.minimum(runner_up, pairs.second))


def _joined(found: Sequence[Nearest]) -> Nearest:
    if len(found) == 1:
        return found[0]

    def all_of(name: str) -> Ints:
        return np.concatenate([np.empty(0, np.int64), *(getattr(each, name) for each in found)])

    return Nearest(all_of("row"), all_of("set"), all_of("index"), all_of("first"), all_of("second"))
