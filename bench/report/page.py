"""The page: one HTML file that needs nothing else, made from a result file.

In: a result file, and whether pictures are to be made. Out: HTML as text. No resource lies outside of it, its script
does nothing but sort and filter tables, and it follows the reader's light or dark setting.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from bench.records import Results
from bench.report import html, words
from bench.report.figures import Record
from bench.report.html import Cell, Group, word
from bench.report.palette import variables
from bench.report.pictures import pictures_sections
from bench.report.race_sections import scenarios_section, stages_section, suite_section, truth_section
from bench.report.races import SUITES, Entry, Race, races
from bench.report.retrieval_sections import published_section, retrieval_section

_LINKS = (
    ("throughput", "Throughput"), ("latency", "Latency"), ("end_to_end", "End to end"), ("stages", "Stages"),
    ("start_up", "Start-up"), ("index", "Index"), ("matching", "Matching"), ("scenarios", "MLPerf's scenarios"),
    ("retrieval", "Retrieval"), ("published", "Published"), ("sheets", "Neighbours"), ("map", "Map"),
    ("truth", "Truth checks"), ("absent", "Not measured"), ("formed", "How figures are formed"),
)  # fmt: skip
_KINDS = {
    "stages": "stages of a build", "scenario": "MLPerf's scenarios", "retrieval": "retrieval",
    "published": "published figures", "check": "checks of the harness",
}  # fmt: skip
_SHADES = ("--shade:#f5f7f9;--bar:#dcebf7", "--shade:#1c2330;--bar:#1f3b57")


def page(results: Results, *, has_pictures: bool) -> str:
    """The whole document."""
    body = "".join(
        (
            suite_section(results, "throughput"),
            suite_section(results, "latency"),
            suite_section(results, "end_to_end"),
            stages_section(results),
            suite_section(results, "start_up"),
            suite_section(results, "index"),
            suite_section(results, "matching"),
            scenarios_section(results),
            retrieval_section(results),
            published_section(results),
            *pictures_sections(is_wanted=has_pictures),
            truth_section(results),
            _absent(results),
            _formed(),
        )
    )
    title = "semblance beside its originals"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{title}, {escape(results.run['started'][:10])}</title><style>{_css()}</style></head><body>"
        f"<header><h1>{title}</h1>{_header(results)}</header>{_links()}<main>{body}</main>"
        f"<footer><p>Made from {escape(results.path.name)}.</p></footer><script>{_beside('page.js')}</script>"
        "</body></html>"
    )


# ------------------------------------------------------------------------------------------------------------------


def _css() -> str:
    light, dark = (variables(which) + _SHADES[which] for which in (0, 1))
    dark_rule = f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"  # paper is white
    return f":root{{color-scheme:light dark;{light}}}{dark_rule}{_beside('page.css')}"


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text().strip()


def _links() -> str:
    inside = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in _LINKS)
    return f'<nav aria-label="Sections"><ul>{inside}</ul></nav>'


def _header(results: Results) -> str:
    run, found = results.run, races(results)
    described = run["machine"]
    lead = (
        "Speed is set against the TensorFlow originals and against what the machine can do at most; "
        "what is found is set against what TensorFlow finds and what the experiments published."
    )
    originals = sorted({race.original.record["title"] for race in found if race.original})
    facts = [
        ("processor", f"{described['processor']}, {described.get('num_processors')} of them for this run"),
        ("instructions", ", ".join(described.get("cpu_features") or ()) or "not known"),
        ("system", str(described.get("system"))),
        ("load before the run", words.number(described.get("load_average"))),
        ("threads of each contender", str(run["threads"])),
        ("started", run["started"].replace("T", " ")),
        ("commit", str(run.get("commit") or "not known")),
        ("profile", str(run["profile"])),
        ("originals, which ratios are to", words.listed(originals) or "none took part"),
        ("not measured", _not_measured(results, found)),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted((run.get("versions") or {}).items()))),
    ]
    return html.note(lead, "lead") + _cards(found) + html.facts(facts)


def _cards(found: list[Race]) -> str:
    """The engine's best ratio to the original, for each subject of each suite: what most readers come for."""
    best: dict[tuple[str, str], tuple[Race, Entry]] = {}
    for race in found:
        own = [each for each in race.entries if each.record["role"] == "engine" and each.ratio and not each.is_wrong]
        fastest = max(own, key=lambda each: each.ratio.value if each.ratio else 0.0, default=None)
        if fastest and fastest.ratio:
            key = (race.suite, race.subject if race.suite in ("throughput", "end_to_end") else "")
            before = best.get(key)
            if before is None or before[1].ratio is None or before[1].ratio.value < fastest.ratio.value:
                best[key] = (race, fastest)
    return f'<div class="cards">{"".join(_card(*each) for each in best.values())}</div>' if best else ""


def _card(race: Race, entry: Entry) -> str:
    assert entry.ratio is not None
    assert race.original is not None
    record = entry.record
    interval = f" ({words.interval(entry.ratio)})" if entry.ratio.interval else ""
    setting = f"{words.threads(record['threads'])}, decoding {words.decoding(record)}"
    told = f"at best, {race.title}{interval}: {entry.label}, {setting}"
    return (
        f'<div class="card"><b>{escape(words.times(entry.ratio.value))}x</b>'
        f"<span>{escape(words.SUITE_TITLES[race.suite])}: {escape(race.subject)}</span>"
        f"<small>{escape(str(race.original.record['title']))}'s rate; {escape(told)}</small></div>"
    )


def _not_measured(results: Results, found: list[Race]) -> str:
    """Suites and kinds that the file has nothing of, and how many contenders are absent."""
    raced = {race.suite for race in found}
    missing = [words.SUITE_TITLES[suite] for suite in SUITES if suite not in raced and suite != "known"]
    missing += [title for kind, title in _KINDS.items() if not results.of(kind)]
    contenders = {(each["contender"], each.get("precision")) for each in results.of("absent")}
    told = [f"{len(contenders)} contenders of some races, see the end"] if contenders else []
    return "; ".join(([f"nothing of: {', '.join(missing)}"] if missing else []) + told) or "nothing is missing"


def _absent(results: Results) -> str:
    records = results.of("absent")
    if not records:
        return html.section(
            "absent", "Not measured", html.note("No contender is absent from the races that this file has.")
        )
    columns = [word("contender"), word("precision"), word("race"),
               word("why")]  # fmt: skip
    rows: dict[tuple[str, str, str, str], list[Record]] = {}
    for each in records:
        key = (each["suite"], each["contender"], str(each.get("precision") or words.NONE), str(each["reason"]))
        rows.setdefault(key, []).append(each)
    groups = [
        Group(suite, [
            [Cell(contender), Cell(precision), Cell(_races_of(own), kind="wrap"), Cell(reason, kind="wrap")]
            for (of, contender, precision, reason), own in rows.items() if of == suite
        ])
        for suite in dict.fromkeys(key[0] for key in rows)
    ]  # fmt: skip
    return html.section("absent", "Not measured", html.table(columns, groups))


def _races_of(records: list[Record]) -> str:
    return ", ".join(dict.fromkeys(str(each.get("subject") or each["race"]) for each in records))


def _formed() -> str:
    said = (
        "Contenders of a race run in processes of their own, warm, with the same number of threads, in rounds: in each "
        "round every one has its turn, so that what slows the machine down slows all of them.",
        "A rate is the items of a call by the median of the rounds' medians. Percentiles are over all calls. A ratio "
        "is the median of the rounds' ratios to the fastest original of the race.",
        "An interval is the middle 95 % of 2,000 medians of rounds drawn again with replacement. It tells how "
        "steady this run was, not how another machine would do. Few rounds make it too narrow.",
        "The ceiling of a network is the rate of the largest matrix product of its numbers in the same run: of "
        "float32, bfloat16 or bytes. Runtimes have convolutions that do better than their own product, by up to a "
        "fifth. End to end the ceiling is the lower of decoding and inference alone.",
        "Bold is the fastest of a race whose answers are not wrong.",
    )
    return html.section("formed", "How figures are formed", *(html.note(each) for each in said))
