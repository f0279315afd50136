"""The README's tables of speed: one for each suite of races.

In: a result file. Out: Markdown. They are as narrow as they can be: ratios instead of rates where a ratio is what is
asked, the best of a row in bold, no zero before the point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bench.records import Results
from bench.report import words
from bench.report.charts import by_subject
from bench.report.figures import Record
from bench.report.markdown import bold, table
from bench.report.races import Entry, Race, entry_key, label, races, with_best_originals


def speed(results: Results) -> str:
    """TensorFlow's rate, and everyone else's as times of it, by model and batch."""
    return _ratios(results, _races(results, "throughput"), "model", "batch", _rate_of_original)


def latency(results: Results) -> str:
    """p50 and p99 of single images."""
    found = _races(results, "latency")
    columns = _columns(found)
    rows = []
    for race in found:
        entries = {entry_key(each.record): each for each in race.entries}
        best = min((each.timing.p50_s for each in race.entries if each.timing and not each.is_wrong), default=None)
        cells = [_p50_p99(entries.get(key), best) for key in columns]
        rows.append([f"{_name(race.subject)}, {race.workload['name']}", *cells])
    said = "Milliseconds or microseconds a call, p50 and p99 of all calls; decoding outside. "
    return table(results, found, ["model", *columns.values()], rows, said)


def end_to_end(results: Results) -> str:
    """Rates from files, against the original and the ceiling."""
    found = races(results, "end_to_end")
    rows = []
    for race in found:
        for number, entry in enumerate(race.entries):
            first = f"{_name(race.subject)}, {race.workload['name']}" if number == 0 else ""
            rows.append([first, entry.label, bold(words.number(entry.rate), entry is race.best), _times(entry, race),
                         words.percent(entry.share.value) if entry.share else "",
                         words.size(entry.record.get("peak_bytes"))])  # fmt: skip
    heads = ["model, files", "", "images/s", "times the original", "of the ceiling", "peak memory"]
    said = "Decoding inside; the ceiling is the lower of decoding alone and inference alone in the same race. "
    return table(results, found, heads, rows, said)


def index(results: Results) -> str:
    """A single query, many at a time, recall, build and memory, by gallery."""
    rows, asked, compared, found = [], set(), set(), races(results, "index")
    for subject, own in by_subject(found).items():
        many = max(own, key=lambda race: (_num_queries(race), len(race.entries)))  # exact searches at one width alone
        rated = max((race for race in own if race.original), key=_num_queries, default=many)
        single = next((race for race in own if _num_queries(race) == 1), None)
        asked.add(many.workload["name"])
        compared.add(rated.workload["name"])
        in_single, in_many, in_rated = (_by_key(race) for race in (single, many, rated))
        for number, key in enumerate(in_rated | in_many):
            one, entry = in_single.get(key), in_many.get(key) or in_rated[key]
            race = many if key in in_many else rated
            answers, rate = entry.record.get("answers"), words.number(entry.rate)
            rows.append([
                subject if number == 0 else "",
                entry.label,
                words.duration(one.timing.p50_s) if one and one.timing else "",
                bold(rate, entry is race.best) if race is many else f"({rate})",
                _times(in_rated.get(key), rated) if key in in_rated else "",
                words.share(answers["value"]) if answers else "",
                words.duration(entry.record.get("load_s")),
                words.size(entry.record.get("load_bytes")),
            ])  # fmt: skip
    heads = ["gallery", "", "one query, p50", "queries/s", "times the original", "recall@10", "build", "its memory"]
    said = f"Queries/s of {words.listed(sorted(asked))}; times the original, and rates in brackets, of "
    return table(results, found, heads, rows, f"{said}{words.listed(sorted(compared))}. ")


def matching(results: Results) -> str:
    """The engine's milliseconds, and how many times that the others take."""
    found = races(results, "matching")
    own_key = next(
        (entry_key(each.record) for race in found for each in race.entries if each.record["role"] == "engine"), None
    )
    columns = {key: name for key, name in _columns(found).items() if key != own_key}
    rows = []
    for race in found:
        entries = {entry_key(each.record): each for each in race.entries}
        own = entries.get(own_key or "")
        others = [_slower(entries.get(key), own) for key in columns]
        rows.append([race.workload["name"], words.duration(own.timing.p50_s) if own and own.timing else "", *others])
    engine = next(
        (each.label for race in found for each in race.entries if entry_key(each.record) == own_key), "engine"
    )
    said = "p50; others' columns: how many times as long they take, and their share of the same matches where not all. "
    return table(results, found, ["descriptors", engine, *columns.values()], rows, said)


def start_up(results: Results) -> str:
    """Seconds from the start of a process to its first embedding."""
    found = races(results, "start_up")
    rows = [
        [_name(race.subject) if number == 0 else "", entry.label,
         words.duration(entry.timing.p50_s) if entry.timing else "", _times(entry, race),
         words.size(entry.record.get("peak_bytes"))]
        for race in found for number, entry in enumerate(race.entries)
    ]  # fmt: skip
    return table(results, found, ["model", "", "p50", "times the original's rate", "peak memory"], rows, "")


# ------------------------------------------------------------------------------------------------------------------


def _name(subject: str) -> str:
    """A model by its name; data in words."""
    return subject if " " in subject else f"`{subject}`"


def _races(results: Results, suite: str) -> list[Race]:
    return [with_best_originals(race) for race in races(results, suite)]


def _num_queries(race: Race) -> int:
    return int(race.workload.get("queries") or 0)


def _by_key(race: Race | None) -> dict[str, Entry]:
    return {entry_key(each.record): each for each in race.entries} if race else {}


def _ratios(results: Results, found: Sequence[Race], subject: str, workload: str, rate: Callable[[Race], str]) -> str:
    rated = [race for race in found if race.original]
    originals = dict.fromkeys(str(race.original.record["title"]) for race in rated if race.original)
    columns = {
        key: name for key, name in _columns(rated).items()
        if any(entry_key(each.record) == key and each.ratio for race in rated for each in race.entries)
    }  # fmt: skip
    rows = []
    for name, own in by_subject(rated).items():
        for number, race in enumerate(own):
            entries = {entry_key(each.record): each for each in race.entries}
            short = str(race.workload.get("batch") or race.workload["name"])
            cells = [_times(entries.get(key), race) for key in columns]
            rows.append([_name(name) if number == 0 else "", short, rate(race), *cells])
    noise = [each.ratio.noise for race in rated for each in race.entries if each.ratio and each.ratio.noise is not None]
    told = (
        f", half the 95 % interval of a ratio is {words.percent(_median(noise))} of it in the median" if noise else ""
    )
    said = f"Columns from the fourth on are times the original's rate{told}; decoding outside. "
    unit = next((race.unit for race in rated), "images")
    return table(
        results,
        rated,
        [subject, workload, f"{words.listed(list(originals), 'or')}, {unit}/s", *columns.values()],
        rows,
        said,
    )


def _columns(found: Iterable[Race]) -> dict[str, str]:
    """Contenders by key, as a heading calls them: the engine's by backend, others by title."""
    every = {entry_key(each.record): each for race in found for each in race.entries}
    ordered = sorted(every.items(), key=lambda pair: {"original": 0, "engine": 1}.get(pair[1].record["role"], 2))
    return {key: _heading(each.record) for key, each in ordered}


def _heading(record: Record) -> str:
    if record["role"] == "engine" and record.get("backend"):
        return f"`{record['backend']}` {record.get('precision') or ''}".strip()
    return label({**record, "precision": None if record.get("precision") == "fp32" else record.get("precision")})


def _rate_of_original(race: Race) -> str:
    return words.number(race.original.rate) if race.original else ""


def _times(entry: Entry | None, race: Race) -> str:
    if entry is None or entry.ratio is None:
        return ""
    text = bold(words.times(entry.ratio.value), entry is race.best_ratio)
    return f"{text} (wrong)" if entry.is_wrong else text


def _p50_p99(entry: Entry | None, best: float | None) -> str:
    if entry is None or entry.timing is None:
        return ""
    text = f"{words.duration(entry.timing.p50_s)}, {words.duration(entry.timing.p99_s)}"
    return bold(text, entry.timing.p50_s == best)


def _slower(entry: Entry | None, own: Entry | None) -> str:
    if not (entry and entry.timing and own and own.timing):
        return ""
    answers = entry.record.get("answers")
    right = f" ({words.share(answers['value'], 2)})" if answers and answers["value"] < 0.9995 else ""
    return words.times(entry.timing.p50_s / own.timing.p50_s) + right


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
