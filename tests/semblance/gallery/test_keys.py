"""Which row a key stands for, against a dict, however the keys came and whatever was taken back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from semblance.gallery.keys import Keys

NO_KEYS = np.empty(0, np.int64)
KEYS = st.lists(st.integers(-3, 12) | st.sampled_from([-(2**63), 2**63 - 1]), max_size=20)


@given(st.lists(st.tuples(KEYS, st.integers(0, 30), st.booleans()), max_size=8))
def test_the_youngest_row_of_each_key(changes: list[tuple[list[int], int, bool]]) -> None:
    keys, plain = Keys(NO_KEYS), list[int]()
    for younger, taken_back, is_asked in changes:
        start = max(0, len(plain) - taken_back)
        before, answers = keys, None
        if is_asked:  # which sorts, while the others are sorted together later
            answers = before.youngest(np.arange(-4, 14))
        keys, plain = keys.followed_by(np.array(younger, np.int64), start=start), plain[:start] + younger
        assert keys.of_rows.tolist() == plain
        if answers is not None:
            np.testing.assert_array_equal(before.youngest(np.arange(-4, 14)), answers)
    youngest = {key: row for row, key in enumerate(plain)}
    asked = [*range(-4, 14), -(2**63), 2**63 - 1]
    assert keys.youngest(np.array(asked)).tolist() == [youngest.get(key, -1) for key in asked]


def test_many_small_additions_stay_a_few_runs() -> None:
    keys = Keys(np.random.default_rng(0).permutation(1000))
    for number in range(300):
        keys = keys.followed_by(np.array([number * 7]))
        assert keys.youngest(np.array([[number * 7, -1]])).tolist() == [[1000 + number, -1]]
    assert len(keys._runs) < 10
    assert len(keys) == 1300


def test_without_any_key() -> None:
    assert len(Keys(NO_KEYS).youngest(NO_KEYS)) == 0
    assert Keys(NO_KEYS).youngest(np.array([1])).tolist() == [-1]
