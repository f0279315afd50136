"""How pytest runs races: options, one case for each contender and workload, and a clock that shows what was measured.

pytest-benchmark times a function of its own process; a contender is timed in its own. So its times are replayed: the
function under pytest-benchmark takes up the next of them, on a clock that stands still otherwise. Selection, groups,
statistics, `--benchmark-json` and `--benchmark-compare` are pytest-benchmark's; the race, and the result file that
`--results` names, are ours.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.racing import Planned, absent, run_race
from bench.records import Record, Writer
from bench.suites.plan import Plan
from semblance.errors import SourceError

_SHOWN = 2000  # of a case's times that pytest-benchmark is shown, evenly spread; the result file has them all


class Replay:
    """A clock that goes on only by times that were measured elsewhere."""

    def __init__(self) -> None:
        self._now = 0.0
        self._left: Iterator[float] = iter(())

    def __call__(self) -> float:
        """The time that it shows."""
        return self._now

    def begin(self, seconds: list[float]) -> None:
        """These are to come."""
        self._left = iter(seconds)

    def go_on(self) -> None:
        """By the next of them."""
        self._now += next(self._left)


@dataclass(frozen=True, slots=True)
class Case:
    """One contender at one workload."""

    planned: Planned
    workload: str
    entry: str
    clock: Replay = field(default_factory=Replay, compare=False)


@dataclass(frozen=True, slots=True)
class Raced:
    """A case that was measured."""

    case: Case
    record: Record

    def show(self, benchmark: Any) -> None:
        """Give pytest-benchmark its times, and the answers' figure as further information; fails on wrong answers."""
        seconds = [each for turn in self.record["seconds"] for each in turn]
        shown = seconds[:: -(-len(seconds) // _SHOWN)]
        self.case.clock.begin(shown)
        benchmark.extra_info |= {
            name: self.record[name] for name in ("items", "unit", "load_s", "peak_bytes", "answers", "threads")
        }
        benchmark.pedantic(self.case.clock.go_on, rounds=len(shown), iterations=1)
        answers = self.record["answers"]
        assert answers is None or answers["is_right"], (
            f"{self.case.entry} answers wrongly: {answers['measure']} {answers['value']:.5f} against "
            f"{answers['against']}"
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of races."""
    group = parser.getgroup("races")
    group.addoption("--profile", choices=["quick", "full"], default="quick", help="how thorough to be")
    group.addoption("--threads", type=int, default=2, help="of each contender")
    group.addoption("--results", type=Path, default=None, metavar="FILE.jsonl", help="append records to this file")


def pytest_configure(config: pytest.Config) -> None:
    """A folder for the run, and nothing measured yet."""
    config.stash[_FOLDER] = tempfile.TemporaryDirectory(prefix="semblance-bench-")
    config.stash[_DONE] = {}


def pytest_unconfigure(config: pytest.Config) -> None:
    """The folder goes."""
    config.stash[_FOLDER].cleanup()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A case for each contender and workload of each race of the suite."""
    if "raced" not in metafunc.fixturenames:
        return
    option = metafunc.config.getoption
    plan = Plan(option("--profile"), option("--threads"), Path(metafunc.config.stash[_FOLDER].name))
    parameters = []
    for planned in metafunc.module.planned(plan):
        for workload in planned.workloads:
            for entry in planned.entries:
                if entry.only is None or workload in entry.only:
                    case = Case(planned, workload, entry.name)
                    mark = pytest.mark.benchmark(
                        timer=case.clock, group=f"{planned.suite}: {planned.subject}, {workload}", warmup=False
                    )
                    name = "-".join((planned.subject, workload, entry.name)).replace(" ", "_").replace(",", "")
                    parameters.append(pytest.param(case, id=name, marks=mark))
    metafunc.parametrize("raced", parameters, indirect=True, scope="function")


@pytest.fixture
def raced(request: pytest.FixtureRequest) -> Raced:
    """The case's record; skips where its contender was absent, and says why."""
    case: Case = request.param
    done = request.config.stash[_DONE]
    if case.planned.name not in done:
        try:
            done[case.planned.name] = _race(request, case.planned)
        except Exception as error:  # tried once: all of its cases fail by it
            done[case.planned.name] = error
    records = done[case.planned.name]
    if isinstance(records, Exception):
        raise records
    found = [each for each in records if _is_of(each, case)]
    if not found:
        pytest.skip(next(each["reason"] for each in records if each["kind"] == "absent" and _is_absence(each, case)))
    return Raced(case, found[0])


# ------------------------------------------------------------------------------------------------------------------

_FOLDER: pytest.StashKey[tempfile.TemporaryDirectory[str]] = pytest.StashKey()
_DONE: pytest.StashKey[dict[str, list[Record] | Exception]] = pytest.StashKey()


def _race(request: pytest.FixtureRequest, planned: Planned) -> list[Record]:
    """All that was selected of it, measured, and written down."""
    selected: dict[str, set[str]] = defaultdict(set)
    for item in request.session.items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("raced")
        if isinstance(case, Case) and case.planned.name == planned.name:
            selected["entries"].add(case.entry)
            selected["workloads"].add(case.workload)
    records = _records(planned, selected["entries"], selected["workloads"])
    if (path := request.config.getoption("--results")) is not None:
        writer = Writer(path)
        for record in records:
            writer.append(record)
    return records


def _records(planned: Planned, entries: set[str], workloads: set[str]) -> list[Record]:
    """The race's records; where its data is not on this machine, all of its entries are absent."""
    try:
        return run_race(planned.race(entries, workloads))
    except SourceError as error:
        return [
            absent(planned.suite, planned.name, planned.subject, entry, str(error))
            for entry in planned.entries
            if entry.name in entries
        ]


def _is_of(record: Record, case: Case) -> bool:
    return bool(
        record["kind"] == "race" and record["entry"] == case.entry and record["workload"]["name"] == case.workload
    )


def _is_absence(record: Record, case: Case) -> bool:
    return bool(record["entry"] == case.entry)
