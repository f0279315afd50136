"""An iterable worked ahead in threads, bounded and in order, and cut into full batches. Knows nothing of images.

In: items and a function. Out: the function's results in the items' order, computed by worker threads while the
caller works on earlier ones; at most `ahead` chunks are in flight, of a bounded weight where items can be weighed, so
memory does not grow with the input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` consecutive items; only the last may be shorter, none is empty.

    >>> list(in_batches("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, is {size}")
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def work_ahead(
    items: Iterable[T],
    work: Callable[[T], R],
    *,
    workers: int,
    chunk: int = 16,
    ahead: int | None = None,
    weigh: Callable[[T], int] | None = None,
    most_weight: int = 1,
) -> Generator[R, None, None]:
    """`work(item)` for each item, in order, computed in `workers` threads ahead of the consumer.

    A thread takes `chunk` items at a time, since handing over single small items costs more than working on them;
    `ahead` chunks (default twice the workers) may be unconsumed at once. With `weigh`, what was taken of `items` and is
    not worked on yet weighs at most `most_weight` beside the item taken last, and chunks of heavy items are shorter, so
    that every thread has some. With `workers=0` all is done in the caller's thread. An exception of `work` is raised
    where its result would have come, one of `items` after the results of the whole chunks before it. Closing the
    iterator early cancels what has not begun and waits for what has.
    """
    if workers < 0 or chunk < 1:
        raise ValueError(f"workers must be at least 0 and chunk at least 1, are {workers} and {chunk}")
    if workers == 0:
        yield from map(work, items)
        return
    bound = 2 * workers if ahead is None else max(1, ahead)
    share = max(1, most_weight // (2 * workers))  # of a chunk, but for its last item
    pending: deque[tuple[Future[tuple[list[R], Exception | None]], int]] = deque()

    def is_full() -> bool:
        return len(pending) >= bound or share + sum(w for future, w in pending if not future.done()) > most_weight

    with ThreadPoolExecutor(workers, thread_name_prefix="semblance-ahead") as pool:
        try:
            chunks, failure = _chunks(items, chunk, weigh, share), None
            while failure is None:
                while pending and is_full():
                    yield from _delivered(pending.popleft()[0])
                try:
                    batch, weight = next(chunks, (None, 0))
                except Exception as error:
                    failure = error
                    break
                if batch is None:
                    break
                pending.append((pool.submit(_work_on, work, batch), weight))
            while pending:
                yield from _delivered(pending.popleft()[0])
            if failure is not None:
                raise failure
        finally:
            for future, _ in pending:
                future.cancel()


def _chunks(
    items: Iterable[T], size: int, weigh: Callable[[T], int] | None, enough: int
) -> Iterator[tuple[list[T], int]]:
    """Lists of consecutive items and their weights: each ends with `size` items, or the one that makes it `enough`."""
    if weigh is None:
        yield from ((batch, 0) for batch in in_batches(items, size))
        return
    batch, weight = list[T](), 0
    for item in items:
        batch.append(item)
        weight += weigh(item)
        if len(batch) == size or weight >= enough:
            yield batch, weight
            batch, weight = [], 0
    if batch:
        yield batch, weight


def _work_on(work: Callable[[T], R], batch: list[T]) -> tuple[list[R], Exception | None]:
    """The results up to the first exception, and that."""
    results: list[R] = []
    try:
        for item in batch:
            results.append(work(item))
    except Exception as error:
        return results, error
    return results, None


def _delivered(future: Future[tuple[list[R], Exception | None]]) -> Iterator[R]:
    results, error = future.result()
    yield from results
    if error is not None:
        raise error
