"""The page's sections about what is found: figures of each original, per class, and published beside reproduced.

In: a result file. Out: HTML. An original is a row of the table of originals; its records differ in weights, data,
protocol, runtime, precision and search, and each of these stands in the table.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.records import Results
from bench.report import charts, html, words
from bench.report.figures import Record
from bench.report.html import Cell, Column, Group, word

_TABLE_KS = (1, 5, 10, 20, 30)


def retrieval_section(results: Results) -> str:
    """Precision over K, the table, and one per class."""
    records = results.of("retrieval")
    title = "What is found"
    if not records:
        return html.section("retrieval", title, html.missing("This file has no retrieval figures."))
    settings = by_setting(records)
    shown = widest(settings)
    others = {name: own for name, own in settings.items() if name not in shown}
    firsts = [own[0] for own in shown.values()]
    drawn = [
        charts.precision_over_k(own, f"{first['row']}. {first['original']}", first["metric"])
        for first, own in zip(firsts, shown.values(), strict=True)
    ]
    captions = [f"{each['weights']}; {each['data']}; {each['protocol']}" for each in firsts]
    key = html.legend(
        (charts.retrieval_label(each), charts.retrieval_look(each)) for own in shown.values() for each in own
    )
    said = html.note(
        "Precision at K: the share of the K nearest that are of the query's class, the query itself left out. Lines "
        "that lie on each other are what an export is to show. The protocol with the most queries comes first."
    )
    parts = [html.charts(drawn, captions), _figures_table(shown)]
    if others:
        parts.append(html.folded(f"{len(others)} other protocols and metrics", _figures_table(others)))
    return html.section("retrieval", title, said, key, *parts, _classes(shown), _representatives(results))


def published_section(results: Results) -> str:
    """What the experiments published, and what comes out here."""
    records = results.of("published")
    title = "Published beside reproduced"
    if not records:
        return html.section("published", title, html.missing("This file has no published figures."))
    columns = [word("figure"), Column("published"), Column("here"), word("verdict"), word("protocol"), word("why not")]
    groups = [
        Group(name, [_published_row(each) for each in records if published_name(each) == name])
        for name in dict.fromkeys(published_name(each) for each in records)
    ]
    exact, different, absent = (sum(verdict(each) == each_verdict for each in records)
                                for each_verdict in ("same", "other", "not here"))  # fmt: skip
    said = html.note(
        f"{len(records)} published figures: {exact} come out the same to the digits that were published, {different} "
        f"come out otherwise, {absent} have no counterpart here. The note says why."
    )
    return html.section("published", title, said, html.table(columns, groups))


def published_name(record: Record) -> str:
    """Row and original."""
    return f"{record['row']}. {record['original']}"


def verdict(record: Record) -> str:
    """Whether a figure came out as it was published."""
    if record["reproduced"] is None:
        return "not here"
    return "same" if record["is_exact"] else "other"


def figure(value: float | None) -> str:
    """A published figure, which may be a share, a score in percent, a count or a rank."""
    if value is None:
        return words.NONE
    if value == int(value):
        return f"{value:,.0f}"
    return words.share(value) if abs(value) < 1 else f"{value:,.2f}"


def by_setting(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Those of one original by one protocol: only these may be compared."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(setting(record), []).append(record)
    return found


def widest(settings: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """Of each original the setting with the most queries, the first of several: few queries prove little."""
    best: dict[tuple[int, str, str], tuple[str, list[Record]]] = {}
    for name, records in settings.items():
        key = (records[0]["row"], records[0]["original"], records[0]["weights"])
        if key not in best or best[key][1][0]["num_queries"] < records[0]["num_queries"]:
            best[key] = (name, records)
    return dict(best.values())


# ------------------------------------------------------------------------------------------------------------------


def setting(record: Record) -> str:
    """Original, weights, data, metric and protocol, in words."""
    parts = (f"{record['row']}. {record['original']}", record["weights"], record["data"], record["metric"])
    return ", ".join(map(str, (*parts, record["protocol"])))


def _figures_table(settings: dict[str, list[Record]]) -> str:
    hints = {
        "same 10": "share of TensorFlow's ten nearest that are found among ten",
        "lost P@10": "of TensorFlow's precision at 10, in the widest protocol",
    }
    figures = ("R@10", "F1@10", "hit@5", "mAP@10", "mAP", "mean rank", *hints, "queries", "gallery")
    names = (*(f"P@{k}" for k in _TABLE_KS), *figures)
    numbers = [Column(each, hint=hints.get(each, "")) for each in names]
    columns = [word("runtime"), word("precision"), word("search"), *numbers]
    return html.table(columns, [Group(name, [_figures_row(each) for each in own]) for name, own in settings.items()])


def _figures_row(record: Record) -> list[Cell]:
    def at(k: int, name: str) -> Cell:
        value = record["at_k"].get(str(k), {}).get(name)
        return html.share_cell(value)

    return [
        Cell(words.runtime(record)),
        Cell(str(record["precision"] or words.NONE)),
        Cell(str(record["search"])),
        *(at(k, "precision") for k in _TABLE_KS),
        at(10, "recall"),
        at(10, "f1"),
        at(5, "hit"),
        at(10, "average_precision"),
        html.share_cell(record.get("map")),
        Cell(words.number(record.get("mean_rank")), record.get("mean_rank")),
        html.share_cell(record.get("same_10_nearest")),
        _lost(record),
        Cell(f"{record['num_queries']:,}", record["num_queries"]),
        Cell(f"{record['num_gallery']:,}", record["num_gallery"]),
    ]


def _lost(record: Record) -> Cell:
    """Against TensorFlow's own neighbours, and whether that is more than may be lost."""
    lost, is_wrong = record.get("lost_p_at_10"), record.get("is_right") is False
    text = words.NONE if lost is None else ("-" if lost < 0 else "") + words.share(abs(lost))
    return Cell(f"WRONG {text}" if is_wrong else text, lost, "bad" if is_wrong else "")


def _representatives(results: Results) -> str:
    """SIFT scores of one picture of each class against others, where a check has them."""
    parts = []
    for each in results.of("check"):
        found = each["found"]
        if isinstance(found, dict) and "other_classes" in found:
            columns = [word("picture"), *(Column(str(name)) for name in found["other_classes"])]
            rows = [
                [Cell(str(picture)), *(Cell(f"{score:.1f}", score, fill=score / 100) for score in scores)]
                for picture, scores in zip(found["images"], found["scores"], strict=True)
            ]
            parts.append(html.folded(f"Scores in percent: {each['claim']}", html.table(columns, [Group("", rows)])))
    return html.heading("Keypoints as scores") + "".join(parts) if parts else ""


def _classes(settings: dict[str, list[Record]]) -> str:
    parts = []
    for name, own in settings.items():
        with_classes = [each for each in own if each.get("per_class")]
        if with_classes:
            parts.append(html.folded(f"By class, precision at 10: {name}", _class_table(with_classes)))
    return html.heading("By class") + "".join(parts) if parts else ""


def _class_table(records: Sequence[Record]) -> str:
    columns = [word("class"), *(Column(charts.retrieval_label(each)) for each in records)]
    names = list(dict.fromkeys(name for each in records for name in each["per_class"]))
    rows = [[Cell(str(name)), *(_class_cell(each, name) for each in records)] for name in names]
    return html.table(columns, [Group("", rows)])


def _class_cell(record: Record, name: str) -> Cell:
    of_class = record["per_class"].get(name) or {"at_k": {}}
    ks = [k for k in of_class["at_k"] if int(k) <= 10]
    value = of_class["at_k"][max(ks, key=int)]["precision"] if ks else None
    return html.share_cell(value, fill=value)


def _published_row(record: Record) -> list[Cell]:
    found = verdict(record)
    return [
        Cell(str(record["figure"])),
        Cell(figure(record["published"]), record["published"]),
        Cell(figure(record["reproduced"]), record["reproduced"]),
        Cell(found, kind={"same": "best", "other": "", "not here": "quiet"}[found]),
        Cell(str(record.get("protocol") or ""), kind="wrap quiet"),
        Cell(str(record.get("note") or ""), kind="wrap"),
    ]
