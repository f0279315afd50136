"""What changed between two result files: speed, answers, what is found, and who is not there any more.

In: two result files. Out: changes of speed with their intervals, and findings in words. Machines differ, and so does
one machine from hour to hour, by what its neighbours do; a ratio to the original of the same race outlasts that. So
ratios are compared, and rates only where that is asked for. What has no original cannot be compared by ratio, and is
counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from bench.records import Results
from bench.report import words
from bench.report.figures import Estimate, Record, change, estimate, round_rates, round_ratios, timing
from bench.report.races import entry_key, fastest_original, is_wrong, label, race_key
from bench.report.retrieval_sections import setting

MOST_LOST = 0.005  # of precision at 10: what the exporter's own gate allows
_SKIPPED = ("ceiling", "known")

Key = tuple[str, str, str, str]  # suite, race, workload, entry


@dataclass(frozen=True, slots=True)
class Change:
    """One contender at one workload, before and after."""

    suite: str
    race: str
    workload: str
    who: str
    role: str
    before: Estimate
    after: Estimate
    change: Estimate  # after as times before; below 1 is slower

    def is_slower(self, threshold: float) -> bool:
        """Whether it lost more than `threshold`, and more than the rounds of both runs leave to chance.

        One round tells nothing about chance, so that it never counts.
        """
        found = self.change.interval
        return self.change.value < 1 - threshold and found is not None and found.high < 1

    def is_faster(self, threshold: float) -> bool:
        """The same the other way round."""
        found = self.change.interval
        return self.change.value > 1 + threshold and found is not None and found.low > 1


@dataclass(slots=True)
class Differences:
    """All that changed."""

    is_absolute: bool  # rates are compared, not ratios
    changes: list[Change] = field(default_factory=list)
    worse: list[str] = field(default_factory=list)  # in words; each makes the second file the worse one
    told: list[str] = field(default_factory=list)  # worth knowing, no more


def differences(
    before: Results, after: Results, *, is_absolute: bool = False, suites: Collection[str] = ()
) -> Differences:
    """Compare two files. `suites` are those of races that count, all of them where it is empty."""
    found = Differences(is_absolute)
    old, new = (_by_key(each, suites) for each in (before, after))
    _compare_races(old, new, found)
    _find_wrong(old, new, found)
    _find_vanished(old, new, after, found)
    if not suites:
        _compare_retrieval(before, after, found)
        _compare_checks(before, after, found)
    return found


# ------------------------------------------------------------------------------------------------------------------
# Races


def _by_key(results: Results, suites: Collection[str]) -> dict[Key, Record]:
    return {
        (*race_key(each), entry_key(each)): each
        for each in results.of("race")
        if (not suites or each["suite"] in suites) and each["role"] not in _SKIPPED
    }


def _compare_races(old: dict[Key, Record], new: dict[Key, Record], found: Differences) -> None:
    without, originals = 0, 0
    for key in old.keys() & new.keys():
        first, second = (_race_of(key, each) for each in (old, new))
        pair = _originals(first, second)
        if found.is_absolute:
            values = [[rate for rate in round_rates(each[key]) if rate is not None] for each in (old, new)]
        elif pair is None:
            without += 1
            continue
        elif old[key] is pair[0] or new[key] is pair[1]:
            originals += 1
            continue
        else:
            values = [round_ratios(old[key], pair[0]), round_ratios(new[key], pair[1])]
        if not all(values):
            found.told.append(f"{_named(old[key])}: a file has no calls of it")
            continue
        found.changes.append(
            Change(
                *key[:3], label(old[key]), old[key]["role"], estimate(values[0]), estimate(values[1]), change(*values)
            )
        )
    found.changes.sort(key=lambda each: each.change.value)
    if without:
        found.told.append(f"{without} contenders have no original in their race, the same in both files: no ratios")
    if originals:
        found.told.append(f"{originals} originals are what ratios are to; --absolute compares them as well")


def _race_of(key: Key, records: dict[Key, Record]) -> list[Record]:
    return [each for other, each in records.items() if other[:3] == key[:3]]


def _originals(old: list[Record], new: list[Record]) -> tuple[Record, Record] | None:
    """The original of a race in both files: of those that took part in both the one that was fastest before."""
    after = {entry_key(each): each for each in new if each["role"] == "original" and timing(each)}
    first = fastest_original(each for each in old if entry_key(each) in after)
    return None if first is None else (first, after[entry_key(first)])


def _find_wrong(old: dict[Key, Record], new: dict[Key, Record], found: Differences) -> None:
    for key, record in new.items():
        if not is_wrong(record):
            continue
        said = f"{_named(record)}: answers are wrong ({record['answers']['measure']} {record['answers']['value']:.5f})"
        if key not in old:
            found.told.append(f"{said}, and are not in the first file")
        elif is_wrong(old[key]):
            found.told.append(f"{said}, as before")
        else:
            found.worse.append(said)


def _find_vanished(old: dict[Key, Record], new: dict[Key, Record], after: Results, found: Differences) -> None:
    """Contenders of a race that both files have. The engine's count; others may just not be installed any more."""
    raced = {key[:3] for key in new}
    gone = [record for key, record in old.items() if key not in new and key[:3] in raced]
    for record in gone:
        reason = _reason(record, after)
        said = f"{_named(record)}: not there any more{f' ({reason})' if reason else ''}"
        (found.worse if record["role"] == "engine" else found.told).append(said)
    if missing := {key[:3] for key in old} - raced:
        found.told.append(f"{len(missing)} races of the first file are not in the second")
    if added := len(new.keys() - old.keys()):
        found.told.append(f"{added} contenders of the second file are not in the first")


def _reason(record: Record, results: Results) -> str | None:
    same = results.of("absent", suite=record["suite"], race=record["race"], contender=record["contender"])
    return next((str(each["reason"]) for each in same if each.get("precision") == record.get("precision")), None)


def _named(record: Record) -> str:
    return f"{record['race']}, {record['workload']['name']}, {label(record)}"


# ------------------------------------------------------------------------------------------------------------------
# What is found, and claims


def _compare_retrieval(before: Results, after: Results, found: Differences) -> None:
    old = {_retrieval_key(each): each for each in before.of("retrieval")}
    for key, record in ((_retrieval_key(each), each) for each in after.of("retrieval")):
        if key not in old:
            continue
        for k, was, now in _precisions(old[key], record):
            if k == 10 and was - now > MOST_LOST:
                found.worse.append(f"{' '.join(key)}: P@10 fell from {was:.4f} to {now:.4f}")
            elif k == 10 and abs(was - now) > MOST_LOST:
                found.told.append(f"{' '.join(key)}: P@10 rose from {was:.4f} to {now:.4f}")
        if record.get("is_right") is False and old[key].get("is_right") is not False:
            found.worse.append(f"{' '.join(key)}: more is lost of TensorFlow's neighbours than may be")
    gone = old.keys() - {_retrieval_key(each) for each in after.of("retrieval")}
    if gone and after.of("retrieval"):
        found.told.append(f"{len(gone)} retrieval figures of the first file are not in the second")


def _retrieval_key(record: Record) -> tuple[str, ...]:
    return setting(record) + ":", words.runtime(record), str(record["precision"] or ""), str(record["search"])


def _precisions(old: Record, new: Record) -> Iterator[tuple[int, float, float]]:
    for k, figures in old["at_k"].items():
        if k in new["at_k"]:
            yield int(k), figures["precision"], new["at_k"][k]["precision"]


def _compare_checks(before: Results, after: Results, found: Differences) -> None:
    held = {each["claim"]: each["holds"] for each in before.of("check")}
    for each in after.of("check"):
        if not each["holds"]:
            said = f"claim does not hold: {each['claim']} (found {each['found']})"
            (found.worse if held.get(each["claim"], True) else found.told).append(said)
