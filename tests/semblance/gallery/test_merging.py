"""Which shards are joined: never too many rows, always neighbours, and each row only a few times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from semblance.gallery.merging import stretches_to_merge


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 100))
def test_stretches_are_neighbours_that_fit_together(num_rows: list[int], most: int) -> None:
    stretches = stretches_to_merge(num_rows, most)
    taken = [at for place in stretches for at in range(place.start, place.stop)]
    assert len(taken) == len(set(taken))
    assert all(len(num_rows[place]) > 1 and sum(num_rows[place]) <= most for place in stretches)
    assert [place.start for place in stretches] == sorted((place.start for place in stretches), reverse=True)


def test_what_is_much_larger_than_all_after_it_waits() -> None:
    assert stretches_to_merge([], 100) == []
    assert stretches_to_merge([100], 100) == []
    assert stretches_to_merge([100, 1, 1, 1], 1000) == [slice(1, 4)]
    assert stretches_to_merge([6, 1, 1, 1], 1000) == [slice(0, 4)]
    assert stretches_to_merge([7, 7, 1, 1, 1], 1000) == [slice(2, 5), slice(0, 2)]
    assert stretches_to_merge([60, 50, 50, 1], 100) == [slice(1, 3)]


def test_a_row_is_written_again_only_a_few_times() -> None:
    """Commits of one picture each, joined whenever there are more than 32 small shards."""
    shards, written = list[int](), 0
    for _ in range(20_000):
        shards.append(1)
        while True:
            stretches = stretches_to_merge(shards, 4096)
            if sum(place.stop - place.start for place in stretches) <= 32:
                break
            place = stretches[0]
            written += sum(shards[place])
            shards[place] = [sum(shards[place])]
    assert sum(shards) == 20_000
    assert max(shards) <= 4096
    assert len(shards) < 60
    assert written < 10 * 20_000
