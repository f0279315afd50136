"""The final pass: the best of the first one again, in turns, until their figures are steady.

In: rows of the first pass. Out: the same ones with figures that can be compared: the windows of all candidates are
interleaved, so that whatever else keeps the machine busy for a while slows all of them and not just one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from semblance.errors import SemblanceError
from semblance.tune.choice import Row
from semblance.tune.measuring import Window, is_done, speed_of
from semblance.tune.trial import Trial, activation_bytes, weight_bytes

_ROOM_BYTES = 4 << 30  # for what takes turns
_WINDOWS_EACH = 6  # that there should be time for: three that agree, and some that do not

_Session = tuple[Path, str, int, int]


@dataclass(slots=True)
class _Finalist:
    row: Row
    windows: list[Window] = field(default_factory=list)
    error: str = ""  # why it runs no longer
    is_late: bool = False  # whether the budget was spent before it was steady

    @property
    def is_waiting(self) -> bool:
        """For a further window."""
        return not (self.error or self.is_late or is_done(self.windows))

    @property
    def session(self) -> _Session:
        """What settings must have in common to share a session."""
        setting, _ = self.row.measured
        return self.row.variant.path, setting.backend, setting.threads, setting.streams

    @contextmanager
    def told(self) -> Iterator[None]:
        """A body whose failure is this candidate's."""
        try:
            yield
        except SemblanceError as error:
            self.error = str(error)

    @property
    def closed(self) -> Row:
        """The row as it is told in the end."""
        if self.error:
            return replace(self.row, speed=None, is_final=True, note=self.error)
        return replace(self.row, speed=speed_of(self.windows), is_final=True)


def measure_in_turns(rows: Sequence[Row], *, window_s: float, end: float) -> tuple[list[Row], list[str]]:
    """`rows` measured to the end, as many of the first ones as there is time for; and what is to be told of the others.

    `end` is one of `time.perf_counter`; the first of them is measured in any case.
    """
    affordable = list(_affordable(rows, window_s, end - time.perf_counter()))
    told = []
    if left := len(rows) - len(affordable):
        told.append(f"{left} of the best {len(rows)} candidates have one window only: the budget was spent")
    together = list(_groups(_Finalist(row) for row in affordable))
    if len(together) > 1:
        told.append(f"the last candidates took turns in {len(together)} groups: they do not fit into memory together")
    for number, group in enumerate(together):
        now = time.perf_counter()
        _take_turns(group, window_s, now + (end - now) / (len(together) - number))
    finalists = [finalist for group in together for finalist in group]
    if late := sum(finalist.is_late for finalist in finalists):
        told.append(f"the budget was spent before the windows of {late} of the best {len(finalists)} agreed")
    return [finalist.closed for finalist in finalists], told


def _affordable(rows: Sequence[Row], window_s: float, seconds: float) -> Iterator[Row]:
    """The first ones, as many as there is time for; one in any case."""
    for number, row in enumerate(rows):
        seconds -= _WINDOWS_EACH * max(window_s, 1e-3 * row.measured[1].p50_ms)
        if number and seconds < 0:
            return
        yield row


def _groups(finalists: Iterable[_Finalist]) -> Iterator[list[_Finalist]]:
    """Neighbours in the list that can be in memory together."""
    group: list[_Finalist] = []
    taken = 0
    for finalist in finalists:
        needed = _more_bytes(group, finalist)
        if group and taken + needed > _ROOM_BYTES:
            yield group
            group, taken = [], 0
            needed = _more_bytes(group, finalist)
        group.append(finalist)
        taken += needed
    if group:
        yield group


def _more_bytes(group: Sequence[_Finalist], finalist: _Finalist) -> int:
    """What `finalist` takes beside those of the group, one of which may have its session already."""
    variant, (setting, _) = finalist.row.variant, finalist.row.measured
    is_loaded = any(each.session == finalist.session for each in group)
    return activation_bytes(variant, setting) + (0 if is_loaded else weight_bytes(variant, setting))


def _take_turns(group: Sequence[_Finalist], window_s: float, until: float) -> None:
    trials = _load(group)
    while waiting := [finalist for finalist in group if finalist.is_waiting]:
        for finalist in waiting:
            if finalist.windows and time.perf_counter() >= until:
                finalist.is_late = True
                continue
            with finalist.told():
                batch = finalist.row.measured[0].batch
                finalist.windows.append(trials[finalist.session].window(batch, window_s))


def _load(group: Sequence[_Finalist]) -> dict[_Session, Trial]:
    """A warmed session for all of the group that can share it; what cannot be loaded says so in its finalist."""
    trials: dict[_Session, Trial] = {}
    for finalist in group:
        setting, _ = finalist.row.measured
        sharing = [each.row.measured[0] for each in group if each.session == finalist.session]
        with finalist.told():
            if finalist.session not in trials:
                trials[finalist.session] = Trial(
                    finalist.row.variant,
                    setting.backend,
                    setting.threads,
                    setting.streams,
                    max(each.batch for each in sharing),
                )
            trials[finalist.session].warm(setting.batch)
    return trials
