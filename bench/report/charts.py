"""Which charts there are: from races and retrieval records to drawings, a small one for each model or original.

In: races, records. Out: SVG as text, and the legend that they share. A contender has the same look in all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.report import svg, words
from bench.report.axis import Axis
from bench.report.figures import Record, calls, ecdf
from bench.report.html import legend
from bench.report.palette import Look, look
from bench.report.races import Entry, Race, entry_key
from bench.report.svg import Line

_STAGE_COLORS = ("sky", "blue", "green", "amber", "purple", "brown")


def looks(races: Iterable[Race]) -> dict[str, tuple[str, Look]]:
    """Label and look of each entry of these races, by its key."""
    entries = [entry for race in races for entry in race.entries]
    met = [entry.record["contender"] for entry in entries]
    return {
        entry_key(entry.record): (entry.label, look(entry.record["contender"], entry.record.get("precision"), met))
        for entry in entries
    }


def races_legend(races: Iterable[Race]) -> str:
    """Who is drawn how."""
    return legend(looks(races).values())


def index_legend(races: Sequence[Race]) -> str:
    """The same where a line joins all settings of a contender."""
    met = [entry.record["contender"] for race in races for entry in race.entries]
    return legend((entry.record["title"], look(entry.record["contender"], None, met))
                  for race in races for entry in race.entries)  # fmt: skip


def by_subject(races: Iterable[Race]) -> dict[str, list[Race]]:
    """Races of one model or data set together, in the order they were measured."""
    found: dict[str, list[Race]] = {}
    for race in races:
        found.setdefault(race.subject, []).append(race)
    return found


def throughput(races: Sequence[Race], *, width: int = 380, height: int = 260) -> list[str]:
    """Rate over batch size for each model: a line for each runtime and precision."""
    shown = looks(races)
    return [over_batches(subject, own, shown, width=width, height=height) for subject, own in by_subject(races).items()]


def over_batches(
    subject: str, races: Sequence[Race], shown: dict[str, tuple[str, Look]], *, width: int, height: int,
    is_bare: bool = False,
) -> str:  # fmt: skip
    """One of them."""
    points: dict[str, list[tuple[float, float]]] = {}
    for race in races:
        for entry in race.entries:
            if entry.timing and race.workload.get("batch"):
                points.setdefault(entry_key(entry.record), []).append((race.workload["batch"], entry.rate))
    batches = tuple(sorted({float(race.workload["batch"]) for race in races if race.workload.get("batch")}))
    lines = [
        Line(name, drawn, tuple(sorted(points[key])),
             tuple(f"{name}, batch {x:g}: {words.number(y)} images/s" for x, y in sorted(points[key])))
        for key, (name, drawn) in shown.items()
        if key in points
    ]  # fmt: skip
    x = Axis.over("batch size", batches, is_log=True, ticks=batches)
    y = Axis.over("images/s", [rate for line in lines for _, rate in line.points], is_log=True)
    return svg.chart(subject, lines, x, y, width=width, height=height, is_bare=is_bare)


def latencies(races: Sequence[Race]) -> list[str]:
    """The share of calls that took no longer, over milliseconds, for each model and workload."""
    shown, drawn = looks(races), []
    for race in races:
        lines = []
        for entry in race.entries:
            points = tuple((1e3 * second, part) for second, part in ecdf(calls(entry.record)))
            name, own = shown[entry_key(entry.record)]
            if points:
                lines.append(Line(name, own, points))
        if lines:
            x = Axis.over("ms a call", [ms for line in lines for ms, _ in line.points], is_log=True, pad=0.02)
            y = Axis("share of calls", 0.0, 1.0, ticks=(0.0, 0.25, 0.5, 0.75, 1.0), write=lambda v: f"{v:.0%}")
            drawn.append(svg.chart(race.subject, lines, x, y, note=race.workload["name"]))
    return drawn


def recall(races: Sequence[Race]) -> list[str]:
    """Queries per second over recall for each gallery: better is up and to the right.

    Of each contender those workloads are drawn that ask the most queries at a time, since a rate depends on that.
    """
    met = [entry.record["contender"] for race in races for entry in race.entries]
    return [_recall_chart(subject, own, met) for subject, own in by_subject(races).items() if _recall_points(own)]


def _recall_chart(subject: str, races: Sequence[Race], met: Sequence[str]) -> str:
    lines = [
        Line(contender, look(contender, None, met), tuple(sorted(each[:2] for each in found)),
             tuple(each[2] for each in sorted(found)))
        for contender, found in _recall_points(races).items()
    ]  # fmt: skip
    x = Axis.over("recall", [point[0] for line in lines for point in line.points], ceiling=1.003,
                  write=lambda value: words.share(value, 3))  # fmt: skip
    y = Axis.over("queries/s", [point[1] for line in lines for point in line.points], is_log=True)
    return svg.chart(subject, lines, x, y)


def _recall_points(races: Sequence[Race]) -> dict[str, list[tuple[float, float, str]]]:
    """Recall, rate and words, by contender."""
    points: dict[str, list[tuple[float, float, str]]] = {}
    most: dict[str, int] = {}
    for race in sorted(races, key=lambda each: -(each.workload.get("queries") or 0)):
        num_queries = race.workload.get("queries") or 0
        for entry in race.entries:
            contender, found = entry.record["contender"], _recall(entry)
            if entry.timing and found is not None and most.setdefault(contender, num_queries) == num_queries:
                told = f"{entry.label}, {race.workload['name']}: recall {words.share(found)}, "
                points.setdefault(contender, []).append((found, entry.rate, f"{told}{words.number(entry.rate)}/s"))
    return points


def precision_over_k(records: Sequence[Record], title: str, note: str = "") -> str:
    """Precision at K for one original: a line for each runtime, precision and search."""
    lines = []
    for record in records:
        points = tuple((float(k), float(each["precision"])) for k, each in at_k(record).items())
        name = retrieval_label(record)
        lines.append(
            Line(name, retrieval_look(record), points, tuple(f"{name}, P@{k:g} {words.share(p)}" for k, p in points))
        )
    ks = tuple(sorted({k for line in lines for k, _ in line.points}))
    x = Axis.over("K neighbours", ks, is_log=True, ticks=ks)
    y = Axis.over("precision at K", [p for line in lines for _, p in line.points], pad=0.12, ceiling=1.0,
                  write=lambda value: words.share(value, 3))  # fmt: skip
    return svg.chart(title, lines, x, y, note=note)


def retrieval_label(record: Record) -> str:
    """By what the vectors were made and searched."""
    return f"{words.runtime(record)} {record['precision'] or ''}".strip() + f", {record['search']}"


def retrieval_look(record: Record) -> Look:
    """Colour by runtime; a search through the index has its own dash."""
    found = look(f"{record['runtime']} {record.get('backend') or ''}".strip().lower(), record["precision"])
    return found if record["search"] == "exact" else Look(found.color, "1.5 3.5", found.mark)


def at_k(record: Record) -> dict[int, Record]:
    """Figures by depth, shallow ones first."""
    return {int(k): record["at_k"][k] for k in sorted(record["at_k"], key=int)}


def stages(records: Sequence[Record]) -> tuple[str, list[tuple[str, str]]]:
    """The share of the work that each stage is, as stacked bars, and the key of their colours."""
    names = list(dict.fromkeys(name for record in records for name in record["seconds"]))
    colors = {name: _STAGE_COLORS[number % len(_STAGE_COLORS)] for number, name in enumerate(names)}
    rows = [
        (
            str(record["subject"]),
            [(name, colors[name], 1e3 * seconds / record["num_images"]) for name, seconds in record["seconds"].items()],
        )
        for record in records
        if record["num_images"]
    ]
    drawn = svg.bars("Share of the work by stage, and the work of 1,000 images", rows)
    return drawn, [(name, f"var(--{color})") for name, color in colors.items()]


def speedups(races: Sequence[Race]) -> list[str]:
    """Rates as times the original's, for each race that has one."""
    shown = looks(races)
    drawn = []
    for race in races:
        rows = ratio_rows(race, shown)
        if rows and race.original:
            axis = ratio_axis([race], f"times {race.original.record['title']}")
            drawn.append(svg.dots(race.subject, rows, axis, base=1.0, note=race.workload["name"]))
    return drawn


def ratio_rows(
    race: Race, shown: dict[str, tuple[str, Look]]
) -> list[tuple[str, Look, float, tuple[float, float] | None]]:
    """Name, look, ratio and its interval of each entry that has one, best first."""
    rows = []
    for entry in race.entries:
        if entry.ratio:
            found = entry.ratio.interval
            whisker = (found.low, found.high) if found else None
            rows.append((*shown[entry_key(entry.record)], entry.ratio.value, whisker))
    return sorted(rows, key=lambda row: -row[2])


def ratio_axis(races: Sequence[Race], label: str) -> Axis:
    """A logarithmic one that holds all ratios of `races`, and 1."""
    found = [entry.ratio for race in races for entry in race.entries if entry.ratio]
    ends = [end for each in found if each.interval for end in (each.interval.low, each.interval.high)]
    return Axis.over(label, [1.0, *(each.value for each in found), *ends], is_log=True)


def _recall(entry: Entry) -> float | None:
    answers = entry.record.get("answers")
    return answers["value"] if answers and str(answers["measure"]).startswith("recall") else None
