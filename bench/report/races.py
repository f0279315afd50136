"""Records of one race brought together: who took part, the original they are set against, and the ceiling.

In: a result file. Out: races, each with its entries, best first after the originals. Where several originals took part,
the fastest of them is the one that ratios are taken to. A ceiling may have been measured within the race, or once for
its suite, or once for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.records import Results
from bench.report.figures import Estimate, Record, Share, Timing, ratio, share_of_ceiling, timing

SUITES = ("throughput", "latency", "end_to_end", "start_up", "index", "matching", "known")
_SHOWN_FIRST = {"original": 0, "engine": 1, "peer": 1, "known": 2, "ceiling": 3}


@dataclass(frozen=True, slots=True)
class Entry:
    """One contender of a race, with its figures."""

    record: Record
    timing: Timing | None
    ratio: Estimate | None  # times the original's rate; None: of the original itself, and where there is none
    share: Share | None

    @property
    def rate(self) -> float:
        """Items per second; 0 where nothing was measured."""
        return self.timing.rate.value if self.timing else 0.0

    @property
    def is_wrong(self) -> bool:
        """Whether its answers were found wrong."""
        return is_wrong(self.record)

    @property
    def label(self) -> str:
        """Who it is, in which precision, and what else tells it apart."""
        return label(self.record)


@dataclass(frozen=True, slots=True)
class Race:
    """What was measured in turns."""

    suite: str
    name: str
    workload: dict[str, Any]
    entries: tuple[Entry, ...]  # without the ceilings
    ceilings: tuple[Entry, ...]  # measured within the race
    original: Entry | None

    @property
    def subject(self) -> str:
        """The model or data."""
        return str(self.entries[0].record["subject"] if self.entries else self.name)

    @property
    def title(self) -> str:
        """Subject and workload."""
        return f"{self.subject}, {self.workload['name']}"

    @property
    def unit(self) -> str:
        """What is counted."""
        return str(self.entries[0].record["unit"] if self.entries else "")

    @property
    def best(self) -> Entry | None:
        """The fastest whose answers are not wrong."""
        able = [each for each in self.entries if each.timing and not each.is_wrong]
        return max(able, key=lambda each: each.rate, default=None)

    @property
    def best_ratio(self) -> Entry | None:
        """The one that is the most times the original, if any is faster than it and not wrong."""
        able = [each for each in self.entries if each.ratio and each.ratio.value > 1 and not each.is_wrong]
        return max(able, key=lambda each: each.ratio.value if each.ratio else 0.0, default=None)


def races(results: Results, suite: str | None = None) -> list[Race]:
    """All races of a file, or of a suite, in the order they were measured."""
    grouped: dict[tuple[str, str, str], list[Record]] = {}
    every = results.of("race")
    for record in every:
        if suite in (None, record["suite"]):
            grouped.setdefault(race_key(record), []).append(record)
    ceilings = [each for each in every if each["role"] == "ceiling"]
    return [_race(group, ceilings) for group in grouped.values() if any(each["role"] != "ceiling" for each in group)]


def with_best_originals(race: Race) -> Race:
    """The same race with the fastest variant of each original alone, under the name that all its variants share.

    TensorFlow may have raced with one and with two inter-op threads: whoever reads wants to know the better of both.
    """
    best: dict[tuple[str, Any], Entry] = {}
    for entry in race.entries:
        key = (entry.record["contender"], entry.record.get("precision"))
        if entry.record["role"] == "original" and (key not in best or best[key].rate < entry.rate):
            best[key] = entry
    renamed = {
        id(entry): replace(entry, record=entry.record | {"entry": " ".join(filter(None, key))})
        for key, entry in best.items()
    }
    kept = [
        renamed.get(id(each), each) for each in race.entries if each.record["role"] != "original" or id(each) in renamed
    ]
    return replace(race, entries=tuple(kept), original=renamed.get(id(race.original)))


def race_key(record: Record) -> tuple[str, str, str]:
    """What records of one race have in common."""
    return record["suite"], record["race"], record["workload"]["name"]


def is_wrong(record: Record) -> bool:
    """Whether answers were judged, and found wrong."""
    return (record.get("answers") or {}).get("is_right") is False


def entry_key(record: Record) -> str:
    """What tells contenders of one race apart."""
    parts = (record["contender"], record.get("backend"), record.get("precision"))
    return str(record.get("entry") or " ".join(filter(None, parts)))


def label(record: Record) -> str:
    """A contender by its title, its precision, and the mark that its entry's name ends in, where it has one."""
    named = " ".join(filter(None, (record["contender"], record.get("precision"))))
    mark = entry_key(record).removeprefix(named).strip() if record.get("entry") else ""
    title, precision = str(record["title"]), record.get("precision")
    return " ".join(filter(None, (title, precision if precision not in title.split() else None, mark)))


def fastest_original(records: Iterable[Record]) -> Record | None:
    """The original with the highest rate; None where none has a call."""
    timed = [(found.rate.value, each) for each in records if each["role"] == "original" and (found := timing(each))]
    return max(timed, key=lambda pair: pair[0])[1] if timed else None


def ceiling_of(record: Record, ceilings: Sequence[Record]) -> Record | None:
    """The ceiling that bounds a record: the lowest that applies to it, of those measured nearest to it."""
    if record["suite"] == "end_to_end":
        near = [each for each in ceilings if race_key(each) == race_key(record)]
        same = [each for each in near if _setting(each) == _setting(record)]
        others = [each for each in near if not any(_setting(each))]
        timed = [(found.rate.value, each) for each in same + others if (found := timing(each))]
        return min(timed, key=lambda pair: pair[0])[1] if timed else None
    if record.get("operations_per_item") is None:
        return None
    wanted = f"product_{record.get('precision')}"
    fitting = [
        each for each in ceilings if each["contender"] == wanted and each["threads"] == record["threads"]
    ]  # a ceiling of other threads bounds nothing
    for is_near in (
        lambda each: race_key(each) == race_key(record),
        lambda each: each["race"] == record["race"],
        lambda each: each["suite"] == record["suite"],
        lambda each: True,
    ):
        if near := [each for each in fitting if is_near(each)]:
            return near[-1]
    return None


# ------------------------------------------------------------------------------------------------------------------


def _race(records: list[Record], ceilings: Sequence[Record]) -> Race:
    original = fastest_original(records)
    entries = [_entry(each, original, ceilings) for each in records]
    own = [each for each in entries if each.record["role"] != "ceiling"]
    own.sort(key=lambda each: (_SHOWN_FIRST[each.record["role"]], -each.rate))
    return Race(
        suite=records[0]["suite"],
        name=records[0]["race"],
        workload=records[0]["workload"],
        entries=tuple(own),
        ceilings=tuple(each for each in entries if each.record["role"] == "ceiling"),
        original=next((each for each in own if each.record is original), None),
    )


def _entry(record: Record, original: Record | None, ceilings: Sequence[Record]) -> Entry:
    is_set_against = original is not None and record is not original and record["role"] not in ("ceiling", "known")
    ceiling = ceiling_of(record, ceilings) if record["role"] not in ("ceiling", "known") else None
    share = share_of_ceiling(record, ceiling) if ceiling else None
    return Entry(
        record=record,
        timing=timing(record),
        ratio=ratio(record, original) if is_set_against and original else None,
        share=Share(share, str(ceiling["title"])) if ceiling and share is not None else None,
    )


def _setting(record: Record) -> tuple[Any, Any]:
    return record.get("backend"), record.get("precision")
