"""Contenders measured in turns: each in a fresh process, its threads fixed, warm, in rounds that begin with another.

In: a race, which is entries (contenders and what they are told) and workloads (what all of them have to do). Out: race
records, one for each entry and workload, with the seconds of every call, round by round. Whatever else the machine does
meets all contenders of a round alike, so that ratios formed round by round outlast it.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from bench.contenders import Asked, find, versions
from bench.records import Record
from bench.worker import Failed, Ready, Take, Taken, Turn, serve
from semblance.errors import BackendError, InputError

_PATIENCE_S = 1800.0  # for one answer: building a large index takes minutes
_MOST_CALLS = 400  # of one turn
_FEWEST_ROUNDS, _MOST_ROUNDS = 5, 15
# Read by libraries when they are loaded; what has options of its own is told by its contender as well
_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "TF_NUM_INTRAOP_THREADS",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A contender of a race."""

    kind: str
    contender: str
    threads: int
    options: Mapping[str, Any] = field(default_factory=dict)
    backend: str | None = None
    precision: str | None = None
    is_decode_inside: bool = False
    operations_per_item: float | None = None
    least: float | None = None  # what its answers must reach; None: they are not judged
    rehearsal: Mapping[str, Any] | None = None  # options of a small task that meets imports before loading is timed
    only: frozenset[str] | None = None  # workloads that it takes part in; None: all
    items: int | None = None  # of one call, where they are not the workload's: operations of a ceiling
    mark: str = ""  # told apart from another entry of the same contender, backend and precision

    @property
    def name(self) -> str:
        """Unique in its race."""
        return " ".join(filter(None, (self.contender, self.precision, self.mark)))

    def takes_part_in(self, workload: Workload) -> bool:
        """Whether it has that workload to do."""
        return self.only is None or workload.name in self.only


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a call has to do."""

    name: str
    given: Any  # the input of the task, sent to each process once
    items: int  # of one call
    unit: str = "images"
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judge:
    """How answers are told right from wrong."""

    measure: str
    against: str
    value: Callable[[Any, Any], float]  # answers, and those of the reference -> how well they agree, 1 at best
    truth: Mapping[str, Any] | None = None  # by workload; None: the answers of the entry of the name `against`


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """Entries that do the same work in the same minutes."""

    suite: str
    name: str
    subject: str
    entries: Sequence[Entry]
    workloads: Sequence[Workload]
    judge: Judge | None = None
    turn_s: float = 0.05  # of one contender in a round
    budget_s: float = 8.0  # about how long one workload is measured, all contenders together


def run_race(race: Race) -> list[Record]:
    """Race and absent records. Raises InputError for a race in which two entries have one name."""
    entries = {entry.name: entry for entry in race.entries}
    if len(entries) < len(race.entries):
        raise InputError(f"{race.name}: two entries have one name: {', '.join(entry.name for entry in race.entries)}")
    with started(race.entries) as begun:
        records = [
            _absent(race, entries[name], each.reason) for name, each in begun.items() if isinstance(each, Failed)
        ]
        runners = {name: each for name, each in begun.items() if isinstance(each, Runner)}
        for workload in race.workloads:
            records += _measured(race, workload, runners)
        return records


def run_whole(race: Race) -> list[Record]:
    """Race records of a race in which nobody may be absent but a ceiling. Raises BackendError with the reason."""
    records = run_race(race)
    is_ceiling = {entry.name: find(entry.kind, entry.contender).ROLE == "ceiling" for entry in race.entries}
    for each in records:
        if each["kind"] == "absent" and not is_ceiling[each["entry"]]:  # not every machine has bf16
            raise BackendError(f"{each['entry']} could not take part: {each['reason']}")
    return [each for each in records if each["kind"] == "race"]


@dataclass(slots=True)
class _Lane:
    """One entry at one workload."""

    runner: Runner
    taken: Taken
    turn: Turn
    seconds: list[list[float]] = field(default_factory=list)
    peak_bytes: int | None = None


def _measured(race: Race, workload: Workload, runners: dict[str, Runner]) -> list[Record]:
    """One workload's records. Who fails at it is absent, and taken out of `runners`."""
    absences: list[Record] = []
    lanes: dict[str, _Lane] = {}

    def drop(name: str, reason: str) -> None:
        absences.append(_absent(race, runners.pop(name).entry, f"{workload.name}: {reason}"))
        lanes.pop(name, None)

    for name, runner in list(runners.items()):
        if runner.entry.takes_part_in(workload):
            taken = runner.ask(Take(workload.given))
            if isinstance(taken, Failed):
                drop(name, taken.reason)
            else:
                lanes[name] = _Lane(runner, taken, _turn(taken.once_s, race.turn_s))
    round_s = sum(lane.turn.calls * lane.taken.once_s + lane.taken.rest_s for lane in lanes.values())
    rounds = min(_MOST_ROUNDS, max(_FEWEST_ROUNDS, round(race.budget_s / max(round_s, 1e-9))))
    for name in turns(list(lanes), rounds):
        if (lane := lanes.get(name)) is None:
            continue
        done = lane.runner.ask(lane.turn)
        if isinstance(done, Failed):
            drop(name, done.reason)
            continue
        lane.seconds.append([round(each, 8) for each in done.seconds])
        lane.peak_bytes = done.peak_bytes
    answers = {name: lane.taken.answers for name, lane in lanes.items()}
    return [*absences, *(_record(race, workload, lane, _judged(race, workload, name, lane.runner.entry, answers))
                         for name, lane in lanes.items())]  # fmt: skip


def turns(names: Iterable[str], rounds: int) -> Iterator[str]:
    """Whose turn it is: everyone's once a round, each of which begins with another one."""
    order = list(names)
    for number in range(rounds):
        first = number % max(1, len(order))
        yield from order[first:] + order[:first]


def _turn(once_s: float, turn_s: float) -> Turn:
    """As many calls as fill a turn. A long one needs no warm-up: what the others drove out of the caches is little."""
    return Turn(calls=max(1, min(_MOST_CALLS, round(turn_s / max(once_s, 1e-9)))), warm=once_s < turn_s)


def _judged(race: Race, workload: Workload, name: str, entry: Entry, answers: Mapping[str, Any]) -> Record | None:
    judge = race.judge
    if judge is None or entry.least is None:
        return None
    truth = answers.get(judge.against) if judge.truth is None else judge.truth[workload.name]
    if truth is None:  # the one that was to tell is not there
        return None
    try:
        value = judge.value(answers[name], truth)
    except (ValueError, IndexError):  # they are of another shape than was asked for
        value = 0.0
    value = value if math.isfinite(value) else 0.0
    return {"measure": judge.measure, "value": value, "against": judge.against, "is_right": bool(value >= entry.least)}


def _record(race: Race, workload: Workload, lane: _Lane, answers: Record | None) -> Record:
    entry, file = lane.runner.entry, find(lane.runner.entry.kind, lane.runner.entry.contender)
    return {
        "kind": "race",
        "suite": race.suite,
        "race": race.name,
        "subject": race.subject,
        "workload": {"name": workload.name, **workload.facts},
        "contender": entry.contender,
        "entry": entry.name,
        "title": file.TITLE,
        "role": file.ROLE,
        "backend": entry.backend,
        "precision": entry.precision,
        "threads": entry.threads,
        "is_decode_inside": entry.is_decode_inside,
        "items": workload.items if entry.items is None else entry.items,
        "unit": workload.unit if entry.items is None else "operations",
        "seconds": lane.seconds,
        "load_s": lane.runner.ready.load_s,
        "load_bytes": lane.runner.ready.load_bytes,
        "peak_bytes": lane.peak_bytes,
        "answers": answers,
        "operations_per_item": entry.operations_per_item,
        "versions": versions(file),
    }


def _absent(race: Race, entry: Entry, reason: str) -> Record:
    return absent(race.suite, race.name, race.subject, entry, reason)


def absent(suite: str, race: str, subject: str, entry: Entry, reason: str) -> Record:
    """The record of a contender that did not take part, and why."""
    return {
        "kind": "absent",
        "suite": suite,
        "race": race,
        "subject": subject,
        "contender": entry.contender,
        "entry": entry.name,
        "precision": entry.precision,
        "reason": reason,
    }


# ------------------------------------------------------------------------------------------------------------------
# Processes


@dataclass(frozen=True, slots=True)
class Runner:
    """A contender's process, ready."""

    entry: Entry
    connection: Connection
    process: Any
    ready: Ready

    def ask(self, request: Take | Turn) -> Any:
        """Its answer, or Failed where it has none."""
        try:
            self.connection.send(request)
            return _received(self.connection, self.process)
        except (EOFError, OSError):
            return _ended(self.process)


@contextmanager
def started(entries: Sequence[Entry]) -> Iterator[dict[str, Runner | Failed]]:
    """A process for each entry, by name; loaded one after the other, as loading is timed. They end with the block."""
    begun: dict[str, Runner | Failed] = {}
    try:
        for entry in entries:
            begun[entry.name] = _started(entry)
        yield begun
    finally:
        for each in begun.values():
            if isinstance(each, Runner):
                with suppress(OSError):  # it has ended already
                    each.connection.send(None)
                each.process.join(timeout=10)
                if each.process.is_alive():
                    each.process.kill()


def _started(entry: Entry) -> Runner | Failed:
    try:
        versions(find(entry.kind, entry.contender))
    except InputError as error:
        return Failed(str(error))
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    rehearsal = None if entry.rehearsal is None else Asked(entry.threads, entry.rehearsal)
    process = context.Process(
        target=serve,
        args=(theirs, entry.kind, entry.contender, Asked(entry.threads, entry.options), rehearsal),
        daemon=True,
    )
    with _environment(dict.fromkeys(_THREADS, str(entry.threads))):
        process.start()
    theirs.close()
    try:
        ready = _received(ours, process)
    except (EOFError, OSError):
        return _ended(process)
    return ready if isinstance(ready, Failed) else Runner(entry, ours, process, ready)


def _received(connection: Connection, process: Any) -> Any:
    """What the process says; one that says nothing is ended. Raises EOFError, OSError where it ended by itself."""
    if connection.poll(_PATIENCE_S):
        return connection.recv()
    process.kill()
    process.join()
    return Failed(f"it did not answer within {_PATIENCE_S:g} s")


def _ended(process: Any) -> Failed:
    process.join(timeout=10)
    return Failed(f"its process ended with status {process.exitcode}; what it said is above")


@contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# ------------------------------------------------------------------------------------------------------------------
# Races before their data


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A race whose contenders and workloads are known by name, and whose data is made when it is run."""

    suite: str
    name: str
    subject: str
    entries: Sequence[Entry]
    workloads: Sequence[str]
    load: Callable[[], tuple[Sequence[Workload], Judge | None]]
    turn_s: float = 0.05
    budget_s: float = 8.0

    def race(self, entries: Container[str], workloads: Container[str]) -> Race:
        """The race of those entries and workloads alone, with its data. Raises whatever making the data raises."""
        made, judge = self.load()
        return Race(
            suite=self.suite,
            name=self.name,
            subject=self.subject,
            entries=[entry for entry in self.entries if entry.name in entries],
            workloads=[workload for workload in made if workload.name in workloads],
            judge=judge,
            turn_s=self.turn_s,
            budget_s=self.budget_s,
        )
