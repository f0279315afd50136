"""Arrays as JSON: the same bytes, however many, and never for long at a time."""

from __future__ import annotations

import asyncio

import numpy as np

from semblance.service import answers
from semblance.service.answers import as_json, rows_for_json


def test_few_numbers_are_written_at_once() -> None:
    rows = [np.arange(4, dtype=np.float32), None]
    assert asyncio.run(rows_for_json(rows)) is rows
    assert as_json({"rows": rows}, 201).body == b'{"rows":[[0.0,1.0,2.0,3.0],null]}'


def test_many_are_written_in_turns_with_the_event_loop() -> None:
    rng = np.random.default_rng(0)
    rows = [None if number % 7 == 3 else rng.random(2048, np.float32) for number in range(70)]
    rows[5] = np.full(2048, np.nan, np.float32)
    expected = as_json({"rows": rows, "n": 70}).body

    async def main() -> tuple[bytes, int]:
        num_turns, is_done = 0, False

        async def count() -> None:
            nonlocal num_turns
            while not is_done:
                num_turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        written = await rows_for_json(rows)
        is_done = True
        await counting
        return bytes(as_json({"rows": written, "n": 70}).body), num_turns

    found, num_turns = asyncio.run(main())
    assert found == expected
    assert num_turns >= 60 * 2048 // answers._A_TURN
