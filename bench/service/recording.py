"""Rows of what a client sees, kept in plain arrays: half a million requests in tens of megabytes."""

from __future__ import annotations

import time
from array import array

import numpy as np

from bench.service.connections import Exchange
from bench.service.load import FAILURES, RIGHT, UNCHECKED, WRONG, Piece, Seen

_MOST_EXAMPLES = 20


class Recorder:
    """Takes exchanges as they end, looks at their answers, and gives `Seen`."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._kinds: dict[str, int] = {}
        self._times = array("d")  # due, sent, first, finished of each
        self._small = array("i")  # kind, images, status, verdict, failure of each
        self._examples: list[str] = []
        self._start = self._end = time.monotonic()
        self._cpu_s = time.process_time()

    def begin(self) -> None:
        """Time counts from now on."""
        self._start = self._end = time.monotonic()
        self._cpu_s = time.process_time()

    def end(self) -> None:
        """Nothing more is sent; again: nothing."""
        if self._end <= self._start:
            self._end, self._cpu_s = time.monotonic(), time.process_time() - self._cpu_s

    def take(self, exchange: Exchange, piece: Piece) -> int:
        """A row; whether the answer was the right one."""
        verdict = self._verdict(exchange, piece)
        self.add(exchange, piece.kind, piece.num_images, verdict)
        return verdict

    def add(self, exchange: Exchange, kind: str, num_images: int, verdict: int) -> None:
        """A row whose answer somebody else has looked at."""
        number = self._kinds.setdefault(kind, len(self._kinds))
        self._times.extend((exchange.due, exchange.sent, exchange.first, exchange.finished))
        self._small.extend((number, num_images, exchange.status, verdict, FAILURES.index(exchange.failure)))

    def note(self, example: str) -> None:
        """Something wrong, in words."""
        if len(self._examples) < _MOST_EXAMPLES:
            self._examples.append(example)

    def _verdict(self, exchange: Exchange, piece: Piece) -> int:
        if piece.expected is None or exchange.status != 200 or exchange.failure:
            return UNCHECKED
        if exchange.body == piece.expected:
            return RIGHT
        if len(exchange.body) == len(piece.expected):
            found, expected = (np.frombuffer(each, np.float32) for each in (exchange.body, piece.expected))
            difference = float(np.abs(found - expected).max())
            if difference <= self._tolerance:
                return RIGHT
            self.note(f"{piece.kind}: off by {difference:g} where {self._tolerance:g} may be")
        else:
            self.note(f"{piece.kind}: {len(exchange.body)} bytes instead of {len(piece.expected)}")
        return WRONG

    def seen(self, *, num_retried: int = 0) -> Seen:
        """All rows."""
        times = np.array(self._times, np.float64).reshape(-1, 4)
        small = np.array(self._small, np.int32).reshape(-1, 5)
        return Seen(
            kinds=list(self._kinds),
            kind=small[:, 0].astype(np.int16),
            num_images=small[:, 1],
            due=times[:, 0],
            sent=times[:, 1],
            first=times[:, 2],
            finished=times[:, 3],
            status=small[:, 2].astype(np.int16),
            verdict=small[:, 3].astype(np.int8),
            failure=small[:, 4].astype(np.int8),
            start=self._start,
            end=self._end,
            cpu_s=self._cpu_s,
            num_retried=num_retried,
            examples=self._examples,
        )
