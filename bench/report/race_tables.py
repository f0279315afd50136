"""A suite's races as a table of the page: a row for each contender, a group for each race.

In: races. Out: HTML. What a column is called, what it shows and for which suite is a table of its own here. Every row
says in which precision, by how many threads and whether with decoding; ratios are to the fastest original of the race,
which the group's heading names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.report import svg, words
from bench.report.charts import looks
from bench.report.html import Cell, Column, Group, table, word
from bench.report.palette import Look
from bench.report.races import Entry, Race, entry_key, label

_ROLES = {"original": "original", "engine": "semblance", "peer": "peer", "known": "known", "ceiling": "ceiling"}


@dataclass(frozen=True, slots=True)
class _Kind:
    """A column, and how a cell of it is made."""

    column: Column
    cell: Callable[[Entry, Race], Cell]


def race_table(races: Sequence[Race]) -> str:
    """The table of one suite's races."""
    kinds = [_KINDS[name] for name in _SHOWN[races[0].suite]]
    shown = looks(races)
    columns = [word("contender"), *(kind.column for kind in kinds)]
    groups = [
        Group(
            race.title,
            [
                [_contender(entry, shown[entry_key(entry.record)][1]), *(kind.cell(entry, race) for kind in kinds)]
                for entry in race.entries
            ],
            _detail(race),
        )
        for race in races
    ]
    return table(columns, groups)


def _detail(race: Race) -> str:
    """Threads, decoding, the original, and the ceilings of a race."""
    parts = _setting(race)
    if race.original:
        parts.append(f"ratios to {label(race.original.record)}")
    for each in race.ceilings:
        if each.timing:
            is_product = each.record["unit"] == "operations"  # whose title says of what
            name = each.record["title"] if is_product else each.label
            parts.append(f"{name}: {words.number(each.rate)} {each.record['unit']}/s")
    return "; ".join(parts)


def _setting(race: Race) -> list[str]:
    """What all contenders of a race have in common."""
    threads = {entry.record["threads"] for entry in race.entries}
    decoding = {words.decoding(entry.record) for entry in race.entries}
    told = [words.threads(*threads)] if len(threads) == 1 else []
    has_pictures = race.suite not in ("index", "matching", "known")
    return told + ([f"decoding {decoding.pop()}"] if len(decoding) == 1 and has_pictures else [])


def _contender(entry: Entry, look: Look) -> Cell:
    record = entry.record
    versions = ", ".join(f"{name} {version}" for name, version in (record.get("versions") or {}).items())
    text = label({**record, "precision": None}) if not record.get("entry") else _without_precision(entry)
    return Cell(" " + text, before=svg.swatch(look, has_line=False), hint=versions)


def _without_precision(entry: Entry) -> str:
    """Precision has a column of its own."""
    title, precision = str(entry.record["title"]), entry.record.get("precision")
    mark = entry.label.removeprefix(f"{title} {precision}" if precision else title)
    return title + mark


def _rate(entry: Entry, race: Race) -> Cell:
    if entry.timing is None:
        return Cell("no calls", kind="quiet")
    top = race.best.rate if race.best else entry.rate
    return Cell(words.number(entry.rate), entry.rate, _best(entry, race), fill=entry.rate / top if top else None)


def _interval(entry: Entry, race: Race) -> Cell:
    if entry.timing is None:
        return Cell()
    found = words.interval(entry.timing.rate, "number")
    return Cell(found or "one round", entry.timing.rate.noise, "quiet")


def _ratio(entry: Entry, race: Race) -> Cell:
    if race.original is entry:
        return Cell("1", 1.0, "quiet")
    if entry.ratio is None:
        return Cell(words.NONE, kind="quiet")
    return Cell(words.times(entry.ratio.value), entry.ratio.value, "best" if entry is race.best_ratio else "")


def _ratio_interval(entry: Entry, race: Race) -> Cell:
    return Cell(words.interval(entry.ratio), entry.ratio.noise if entry.ratio else None, "quiet")


def _share(entry: Entry, race: Race) -> Cell:
    if entry.share is None:
        return Cell(words.NONE, kind="quiet")
    return Cell(words.percent(entry.share.value), entry.share.value, hint=f"of {entry.share.of}")


def _percentile(name: str) -> Callable[[Entry, Race], Cell]:
    def cell(entry: Entry, race: Race) -> Cell:
        seconds = getattr(entry.timing, name) if entry.timing else None
        return Cell(words.duration(seconds), seconds)

    return cell


def _answers(entry: Entry, race: Race) -> Cell:
    found = entry.record.get("answers")
    if not found:
        return Cell("not judged", kind="quiet")
    verdict = "" if found["is_right"] is not False else "WRONG "
    return Cell(
        verdict + words.share(found["value"], 5 if found["value"] > 0.999 else 4),
        found["value"],
        "bad" if verdict else "",
        hint=f"{found['measure']}, against {found['against']}",
    )


def _field(name: str, write: Callable[[float | None], str]) -> Callable[[Entry, Race], Cell]:
    def cell(entry: Entry, race: Race) -> Cell:
        value = entry.record.get(name)
        return Cell(write(value), value, "" if value is not None else "quiet")

    return cell


def _word(name: str) -> Callable[[Entry, Race], Cell]:
    return lambda entry, race: Cell(str(entry.record.get(name) or words.NONE))


def _count(value: int) -> Cell:
    return Cell(str(value), value)


def _best(entry: Entry, race: Race) -> str:
    return "best" if race.best is entry and len(race.entries) > 1 else ""


_KINDS = {
    "role": _Kind(word("role"), lambda entry, race: Cell(_ROLES[entry.record["role"]], kind="quiet")),
    "precision": _Kind(word("precision"), _word("precision")),
    "threads": _Kind(Column("threads"), lambda entry, race: _count(entry.record["threads"])),
    "decode": _Kind(
        Column("decode", is_number=False, hint="whether decoding pictures is part of what was timed"),
        lambda entry, race: Cell(words.decoding(entry.record)),
    ),
    "rate": _Kind(Column("items/s", hint="items of a call by the median of the rounds' medians"), _rate),
    "interval": _Kind(Column("rate, 95 %", hint="interval over rounds, bootstrapped"), _interval),
    "ratio": _Kind(Column("x original", hint="rate as times the fastest original's, round by round"), _ratio),
    "ratio_interval": _Kind(Column("ratio, 95 %", hint="interval over rounds, paired, bootstrapped"), _ratio_interval),
    "share": _Kind(Column("of ceiling", hint="share of what can be done at most; the pointer shows of what"), _share),
    "p50": _Kind(Column("p50", hint="over all calls"), _percentile("p50_s")),
    "p90": _Kind(Column("p90"), _percentile("p90_s")),
    "p95": _Kind(Column("p95"), _percentile("p95_s")),
    "p99": _Kind(Column("p99"), _percentile("p99_s")),
    "answers": _Kind(Column("answers", hint="agreement with the reference; the pointer shows the measure"), _answers),
    "load": _Kind(Column("loading"), _field("load_s", words.duration)),
    "build": _Kind(Column("build"), _field("load_s", words.duration)),
    "build_memory": _Kind(Column("memory it holds"), _field("load_bytes", words.size)),
    "memory": _Kind(Column("peak memory"), _field("peak_bytes", words.size)),
}  # fmt: skip
_SETTING = ("threads", "decode", "role")  # last: on a narrow screen figures are what is looked for
_TIMES = ("ratio", "ratio_interval")
_SHOWN: dict[str, tuple[str, ...]] = {
    "throughput": (
        "precision", "rate", *_TIMES, "interval", "share", "p50", "p99", "answers", "load", "memory", *_SETTING,
    ),
    "latency": ("precision", "p50", "p90", "p95", "p99", *_TIMES, "share", "rate", "answers", "memory", *_SETTING),
    "end_to_end": ("precision", "rate", *_TIMES, "interval", "share", "answers", "memory", *_SETTING),
    "start_up": ("precision", "p50", "p95", *_TIMES, "answers", "memory", *_SETTING),
    "index": ("rate", *_TIMES, "interval", "answers", "p50", "build", "build_memory", "memory", "threads", "role"),
    "matching": ("rate", *_TIMES, "interval", "p50", "p99", "answers", "memory", "threads", "role"),
    "known": ("rate", "p50", "p90", "p99", "answers"),
}  # fmt: skip
