"""Which small shards are joined to one, so that a gallery of many small commits stays one of few files.

In: how many rows each shard has. Out: stretches of neighbouring shards to be joined. A shard waits until what came
after it is half as long, so that each row is written again only about as often as its shard can double: a thousand
commits of one picture each write every picture some ten times, not a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence


def stretches_to_merge(num_rows: Sequence[int], most_rows: int) -> list[slice]:
    """Stretches of at least two shards, the youngest first, that together have at most `most_rows` rows each.

    `num_rows` are those of each shard, the oldest first.
    """
    found: list[slice] = []
    stop, total = len(num_rows), 0  # of the stretch that is being put together, which ends before `stop`
    for at in range(len(num_rows) - 1, -1, -1):
        here = num_rows[at]
        if at + 1 < stop and (here > 2 * total or here + total > most_rows):
            found.append(slice(at + 1, stop))
            stop, total = at + 1, 0
        total += here
    found.append(slice(0, stop))
    return [each for each in found if each.stop - each.start > 1]
