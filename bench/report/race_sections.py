"""The page's sections about speed: one for each suite, the stages of a build, and MLPerf's scenarios.

In: a result file. Out: HTML. Where a file has nothing of a suite its section says so instead of being left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.records import Results
from bench.report import charts, html, words
from bench.report.figures import Record
from bench.report.html import Cell, Column, Group, word
from bench.report.race_tables import race_table
from bench.report.races import Race, races, with_best_originals

_SAID = {
    "throughput": "uint8 pixels in memory to float32 embeddings in memory; decoding is outside. Both axes are "
    "logarithmic: a step up is a factor.",
    "latency": "One call after the other. Curves show which share of the calls took no longer than so many "
    "milliseconds: further left is faster, steeper is steadier.",
    "end_to_end": "Picture files to embeddings, decoding inside; the system holds the files in memory. The engine's "
    "ceiling is the lower of decoding alone and its inference alone in the same race, of others decoding alone; who "
    "overlaps the two comes near to it.",
    "start_up": "A new process that loads the model and embeds one picture file, from its start to the answer.",
    "index": "Queries per second over recall: up and to the right is better. Building is timed apart.",
    "matching": "Descriptors to the matches that Lowe's ratio test keeps. Answers are the share of matches that are "
    "those of a plain search.",
}


def suite_section(results: Results, suite: str) -> str:
    """Charts and table of one suite."""
    title = words.SUITE_TITLES[suite]
    found = races(results, suite)
    if not found:
        return html.section(suite, title, html.missing(f"This file has no races of the suite {suite}."))
    shown = [with_best_originals(race) for race in found]  # the table has all of them
    drawn, is_wide = _CHARTS[suite](shown), _CHARTS[suite] is charts.speedups
    if suite == "index":
        key = charts.index_legend(shown)
    elif is_wide:  # names stand beside the marks
        key = ""
    else:
        key = charts.races_legend(shown)
    return html.section(
        suite, title, html.note(_SAID[suite]), key, html.charts(drawn, is_wide=is_wide), race_table(found)
    )


def stages_section(results: Results) -> str:
    """Where the time of a gallery's build goes."""
    records = results.of("stages")
    title = "Where a build's time goes"
    if not records:
        return html.section("stages", title, html.missing("This file has no stages of a build."))
    drawn, key = charts.stages(records)
    names = list(dict.fromkeys(name for record in records for name in record["seconds"]))
    columns = [word("model"), Column("threads"), Column("images"), Column("images/s"),
               Column("wall"), *(Column(name) for name in names), Column("work / wall")]  # fmt: skip
    rows = [_stages_row({"threads": results.run["threads"]} | record, names) for record in records]
    said = html.note(
        "Stages overlap: their seconds are summed over threads, and may be more than the clock on the wall shows."
    )
    picture = f'<figure class="wide">{drawn}</figure>'
    return html.section("stages", title, said, html.key(key), picture, html.table(columns, [Group("", rows)]))


def scenarios_section(results: Results) -> str:
    """LoadGen's verdicts."""
    records = results.of("scenario")
    title = "MLPerf's scenarios"
    if not records:
        return html.section("scenarios", title, html.missing("This file has no run of MLPerf's LoadGen."))
    columns = [word("scenario"), word("backend"),
               word("precision"), Column("threads"), word("decode"),
               word("metric"), Column("value"), word("LoadGen says"),
               Column("queries"), Column("right answers")]  # fmt: skip
    groups = [
        Group(model, [_scenario_row(each) for each in records if each.get("model") == model])
        for model in dict.fromkeys(each.get("model") for each in records)
        if model
    ]
    said = html.note(
        "Measured by MLPerf's own LoadGen. It calls short runs invalid that have too few queries for their percentile; "
        "answers are those of its accuracy log against the encoder's own."
    )
    return html.section("scenarios", title, said, html.table(columns, groups))


def truth_section(results: Results) -> str:
    """Whether the harness tells the truth: contenders whose result is known, and claims."""
    known, claims = races(results, "known"), results.of("check")
    parts = []
    if known:
        parts += [html.heading("Contenders whose result is known beforehand"), race_table(known)]
    if claims:
        columns = [word("claim"), word("found"), word("holds")]
        rows = [[Cell(str(each["claim"]), kind="wrap"), Cell(words.found(each["found"]), kind="wrap"),
                 Cell("yes" if each["holds"] else "NO", kind="" if each["holds"] else "bad")]
                for each in claims]  # fmt: skip
        parts += [html.heading("Claims and what was found"), html.table(columns, [Group("", rows)])]
    if not parts:
        parts.append(html.missing("This file has no check of the harness itself."))
    return html.section("truth", "Does the harness tell the truth?", *parts)


# ------------------------------------------------------------------------------------------------------------------


def _stages_row(record: Record, names: Sequence[str]) -> list[Cell]:
    wall, count = record["wall_s"], record["num_images"]
    work = sum(record["seconds"].values())
    rate = count / wall if wall else 0.0
    return [
        Cell(str(record["subject"])),
        Cell(str(record["threads"])),
        Cell(f"{count:,}", count),
        Cell(words.number(rate), rate),
        Cell(words.duration(wall), wall),
        *(Cell(words.duration(record["seconds"].get(name)), record["seconds"].get(name)) for name in names),
        Cell(words.times(work / wall) if wall else words.NONE, work / wall if wall else None),
    ]


def _scenario_row(each: Record) -> list[Cell]:
    accuracy = each.get("accuracy") or {}
    bound = f" within {each['latency_bound_ms']:g} ms (p99)" if each.get("latency_bound_ms") else ""
    wrong = accuracy.get("num_wrong", 0) + accuracy.get("num_missing", 0)
    return [
        Cell(str(each["scenario"])),
        Cell(str(each.get("backend") or words.NONE)),
        Cell(str(each.get("precision") or words.NONE)),
        Cell(str(each["threads"]), each["threads"]),
        Cell(words.decoding(each)),
        Cell(f"{each['metric']}{bound}"),
        Cell(scenario_value(each), each["value"], "best"),
        Cell("valid" if each["is_valid"] else "too short", kind="" if each["is_valid"] else "quiet"),
        Cell(f"{each['num_queries']:,}", each["num_queries"]),
        Cell(f"{accuracy['num_samples'] - wrong} of {accuracy['num_samples']}", kind="bad" if wrong else "")
        if accuracy
        else Cell("not judged", kind="quiet"),
    ]


def scenario_value(each: Record) -> str:
    """With its unit; a Server that holds its bound at no rate has none."""
    if each["value"] is None:
        return "none"
    return (
        words.duration(each["value"] / 1e3) if each["unit"] == "ms" else f"{words.number(each['value'])} {each['unit']}"
    )


_CHARTS: dict[str, Callable[[Sequence[Race]], list[str]]] = {
    "throughput": charts.throughput,
    "latency": charts.latencies,
    "end_to_end": charts.speedups,
    "start_up": charts.speedups,
    "index": charts.recall,
    "matching": charts.speedups,
}
