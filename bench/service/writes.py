"""A client that changes the gallery and keeps a journal, so that it knows what must be there: no more and no less.

In: pictures, with the sha256 that the service keeps of each. Out: what was acknowledged of every key, what may have
happened beside it, and after a crash or at the end every key that is not as it must be. A change that was refused has
not happened; one that was cut off may have or not, and its key is left alone from then on.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

import numpy as np

from bench.service.connections import Exchange, Pool
from bench.service.load import RIGHT, UNCHECKED, WRONG
from bench.service.recording import Recorder
from bench.service.wire import RAW, request

FIRST_KEY = 1_000_000  # above those of the gallery at the begin
_MOST_IN_FLIGHT = 8
_REFUSED = (400, 401, 403, 413, 415, 422, 429)  # nothing has happened
_INSIST_S, _AGAIN_S = 60.0, 0.05  # for an answer where the service is full
_AT_ONCE = 8
_READY_S = 120.0
_SHARES = (0.55, 0.2, 0.25)  # a new key, one that is there again, one removed


@dataclass(frozen=True, slots=True)
class Known:
    """A picture that can be written."""

    content: bytes
    sha256: str


@dataclass(slots=True)
class Key:
    """What a key may hold: numbers of pictures, None for nothing."""

    acknowledged: int | None = None
    possible: set[int | None] = field(default_factory=lambda: {None})
    last: int = 0  # picture that was asked for last
    is_busy: bool = False
    is_retired: bool = False

    @property
    def is_there(self) -> bool:
        return self.acknowledged is not None


@dataclass(frozen=True, slots=True)
class Verified:
    """All keys looked at, once."""

    at: float
    num_keys: int
    num_searched: int
    problems: list[str]  # facts that are not as they must be, and keys that a search with their own picture lacks
    missed_by_index: int  # keys that an exact search finds and the usual one does not


class Writes:
    """The stream of changes, and what is known by it."""

    def __init__(
        self, pool: Pool, recorder: Recorder, pictures: Sequence[Known], journal: TextIO, *, nearness: float, seed: int
    ) -> None:
        """`nearness` is the distance up to which a picture counts as itself."""
        self._pool, self._recorder, self._pictures, self._journal = pool, recorder, pictures, journal
        self._nearness = nearness
        self._rng = np.random.default_rng(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_out = False  # the server does not answer
        self.keys: dict[int, Key] = {}
        self.verified: list[Verified] = []
        self.num_acknowledged = 0

    # ------------------------------------------------------------------------------------------------------------------
    # Changing

    async def run(self, rate_per_s: float, until: float) -> None:
        """Change something so many times a second; after an outage look at all keys first."""
        while (now := time.monotonic()) < until:
            if self._is_out:
                await self._settled()
                await self._until_ready(until)
                self.verified.append(await self.verify(most_searches=100))
                self._is_out = False
            elif len(self._tasks) < _MOST_IN_FLIGHT:
                task = asyncio.get_running_loop().create_task(self._change(now))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(float(self._rng.exponential(1 / rate_per_s)))
        await self._settled()

    async def _settled(self) -> None:
        if self._tasks:
            await asyncio.gather(*self._tasks)

    async def _change(self, due: float) -> None:
        number, key, is_put = self._chosen()
        key.is_busy = True
        picture = int(self._rng.integers(len(self._pictures)))
        wanted = picture if is_put else None
        target = f"/v1/images/{number}"
        content = self._pictures[picture].content
        sent = request("DELETE", target)
        if is_put:
            sent = request("PUT", f"{target}?label=soak", content, {"Content-Type": RAW})
        self._note(number, "ask", wanted)
        exchange = await self._pool.answer(sent)
        is_known = key.possible == {key.acknowledged}
        verdict = self._settle(key, wanted, exchange)
        if verdict == RIGHT and is_known and (said := self._misanswered(exchange, key, wanted)):
            verdict = WRONG
            self._recorder.note(f"key {number}: {said}")
        if verdict != UNCHECKED:
            self._note(number, "acknowledged", wanted)
            self.num_acknowledged += 1
            key.acknowledged, key.possible = wanted, {wanted}
        if is_put:
            key.last = picture
        key.is_busy = False
        self._recorder.add(exchange, "put" if is_put else "delete", 1 if is_put else 0, verdict)

    def _chosen(self) -> tuple[int, Key, bool]:
        """A key that nothing is going on with, and whether a picture is put there or removed."""
        kind = int(self._rng.choice(3, p=_SHARES))
        there = [number for number, key in self.keys.items() if key.is_there and not (key.is_busy or key.is_retired)]
        if kind == 0 or not there:
            number = FIRST_KEY + len(self.keys)
            self.keys[number] = Key()
            return number, self.keys[number], True
        number = there[int(self._rng.integers(len(there)))]
        return number, self.keys[number], kind == 1

    def _settle(self, key: Key, wanted: int | None, exchange: Exchange) -> int:
        """RIGHT: acknowledged. UNCHECKED: it was not."""
        if exchange.status in (200, 201, 204, 404) and not exchange.failure:
            return RIGHT
        if exchange.failure or exchange.status not in _REFUSED:
            if exchange.failure != "unreachable":
                key.possible.add(wanted)
                key.is_retired = True
            self._is_out = self._is_out or exchange.failure in ("unreachable", "broken")
        return UNCHECKED

    def _misanswered(self, exchange: Exchange, key: Key, wanted: int | None) -> str:
        """What an acknowledgement says that cannot be, by what the key held before; nothing where all is well."""
        expected = (200 if key.is_there else 201) if wanted is not None else (204 if key.is_there else 404)
        if exchange.status != expected:
            return f"answered {exchange.status} where {expected} is right"
        if wanted is not None and json.loads(exchange.body)["sha256"] != self._pictures[wanted].sha256:
            return "acknowledged with another picture's sha256"
        return ""

    def _note(self, number: int, what: str, wanted: int | None) -> None:
        self._journal.write(json.dumps([round(time.time(), 4), number, what, wanted]) + "\n")
        self._journal.flush()

    async def _until_ready(self, until: float) -> None:
        end = min(until, time.monotonic() + _READY_S)
        ready = request("GET", "/readyz")
        while time.monotonic() < end and (await self._pool.answer(ready)).status != 200:
            await asyncio.sleep(0.1)

    # ------------------------------------------------------------------------------------------------------------------
    # Looking

    async def verify(self, *, most_searches: int | None = None) -> Verified:
        """Look at all keys: what is kept of each, and whether its own picture finds it."""
        at = time.monotonic()
        problems: list[str] = []
        numbers = list(self.keys)
        searched = numbers if most_searches is None else numbers[-most_searches:]
        free = asyncio.Semaphore(_AT_ONCE)
        missed = 0

        async def look(number: int) -> None:
            nonlocal missed
            async with free:
                found, problem = await self._facts(number)
                if problem:
                    problems.append(problem)
                elif number in set_searched:
                    problem, is_missed = await self._search(number, found)
                    missed += is_missed
                    problems.extend([problem] if problem else [])

        set_searched = set(searched)
        await asyncio.gather(*(look(number) for number in numbers))
        return Verified(at, len(numbers), len(searched), problems, missed)

    async def _facts(self, number: int) -> tuple[int | None, str]:
        """The picture that a key holds, None for nothing; and what is wrong with that."""
        asked = request("GET", f"/v1/images/{number}", headers={"Accept": "application/json"})
        exchange = await self._insisted(asked)
        key = self.keys[number]
        may_be = sorted("nothing" if each is None else f"picture {each}" for each in key.possible)
        if exchange.status == 404:
            return None, "" if None in key.possible else f"key {number} is lost; it must hold {may_be}"
        if exchange.status != 200:
            return None, f"key {number}: answered {exchange.status} {exchange.failure}"
        sha256 = json.loads(exchange.body)["sha256"]
        for each in key.possible:
            if each is not None and self._pictures[each].sha256 == sha256:
                return each, ""
        return None, f"key {number} holds the picture of sha256 {sha256[:12]}; it must hold {may_be}"

    async def _search(self, number: int, found: int | None) -> tuple[str, bool]:
        """What is wrong with a search with the key's own picture; and whether only the exact one finds it."""
        picture = self._pictures[self.keys[number].last if found is None else found].content
        for options in ("", "&exact=true"):
            distance = await self._distance(number, picture, f"/v1/search?k={self._num_alike() + 8}{options}")
            if isinstance(distance, str):
                return distance, False
            if found is None:  # a retired key may hold what nobody asks for here
                is_back = distance is not None and distance <= self._nearness
                return (f"key {number} is removed, and a search finds it" if is_back else ""), False
            if distance is not None and distance <= self._nearness:
                return "", bool(options)
        return f"key {number} is not found by its own picture: {distance}", False

    async def _distance(self, number: int, picture: bytes, target: str) -> float | str | None:
        exchange = await self._insisted(request("POST", target, picture, {"Content-Type": RAW}))
        if exchange.status != 200:
            return f"key {number}: a search was answered {exchange.status} {exchange.failure}"
        found = {each["key"]: each["distance"] for each in json.loads(exchange.body)["neighbours"]}
        return found.get(number)

    def _num_alike(self) -> int:
        """The most keys that may hold one picture: they are all at distance 0."""
        counts = np.zeros(len(self._pictures), np.int64)
        for key in self.keys.values():
            for each in key.possible:
                if each is not None:
                    counts[each] += 1
        return int(counts.max(initial=0))

    async def _insisted(self, asked: bytes) -> Exchange:
        """The answer, asked for again where the service is full."""
        end = time.monotonic() + _INSIST_S
        while True:
            exchange = await self._pool.answer(asked)
            self._recorder.add(exchange, _kind_of(asked), int(asked.startswith(b"POST")), UNCHECKED)
            is_answered = exchange.status not in (429, 503) and not exchange.failure
            if is_answered or time.monotonic() > end:
                return exchange
            await asyncio.sleep(_AGAIN_S)


def _kind_of(asked: bytes) -> str:
    return "search" if asked.startswith(b"POST") else "facts"
