"""Deadlines against a list that is searched whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from semblance.inference.deadlines import Deadlines

Step = tuple[str, int]
STEPS = st.lists(st.tuples(st.sampled_from(["add", "add", "through", "pass"]), st.integers(0, 40)), max_size=120)


@given(STEPS)
def test_those_that_are_due_come_in_order_and_those_that_are_through_never(steps: list[Step]) -> None:
    through: set[int] = set()
    deadlines = Deadlines[int](through.__contains__)
    plain: dict[int, int] = {}  # by thing, in the order they were added
    now = 0
    for number, (action, value) in enumerate(steps):
        if action == "add":
            is_next = all(now + value < at for thing, at in plain.items() if thing not in through)
            # one that is through may still be the first in the heap, which only costs a look
            assert deadlines.add(number, now + value) <= is_next
            plain[number] = now + value
        elif action == "through" and plain:
            through.add(list(plain)[value % len(plain)])
        else:
            now += value
            due = sorted((at, thing) for thing, at in plain.items() if at <= now and thing not in through)
            assert deadlines.pop_passed(now) == [thing for _, thing in due]
            plain = {thing: at for thing, at in plain.items() if at > now and thing not in through}
            left = deadlines.seconds_left(now)
            assert left == (min(plain.values()) - now if plain else None)


def test_what_is_through_takes_no_memory_for_long() -> None:
    deadlines = Deadlines[int](lambda thing: thing % 10 != 0)
    for thing in range(10_000):
        deadlines.add(thing, float(thing))
    assert len(deadlines) <= 2 * 1_000 + 64
