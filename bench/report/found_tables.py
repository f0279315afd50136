"""The README's other tables: what is found, what was published, MLPerf's scenarios, the checks, and who is absent.

In: a result file. Out: Markdown.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.records import Results
from bench.report import words
from bench.report.charts import retrieval_label
from bench.report.figures import Record
from bench.report.markdown import bold, table
from bench.report.race_sections import scenario_value
from bench.report.retrieval_sections import by_setting, figure, published_name, verdict, widest

_MOST_IN_A_ROW = 8


def scenarios(results: Results) -> str:
    """LoadGen's figures without and with decoding."""
    found = results.of("scenario")
    cells: dict[tuple[str, str], dict[bool, str]] = {}
    for each in found:
        bound = f" within {each['latency_bound_ms']:g} ms" if each.get("latency_bound_ms") else ""
        percentile = (
            "p99" if each["scenario"] == "Server" else each["metric"].split()[0] if each["unit"] == "ms" else ""
        )
        name = ", ".join(filter(None, (each["scenario"], f"{percentile}{bound}")))
        subject = f"`{each.get('model')}` {each.get('precision') or ''}, `{each.get('backend')}`".replace(" ,", ",")
        valid = "" if each["is_valid"] else " (short)"
        cells.setdefault((subject, name), {})[bool(each["is_decode_inside"])] = scenario_value(each) + valid
    rows, last = [], None
    for (subject, name), values in cells.items():
        rows.append([subject if subject != last else "", name, values.get(False, ""), values.get(True, "")])
        last = subject
    is_short = any(not each["is_valid"] for each in found)
    said = (
        "By MLPerf's LoadGen; it calls those marked short too few for their percentile. "
        if is_short
        else "By MLPerf's LoadGen. "
    )
    return table(results, [], ["model", "scenario", "pixels in memory", "files in memory, decoding inside"], rows, said)


def retrieval(results: Results) -> str:
    """What is found: of each original its widest protocol, by every runtime exactly, and once through the index."""
    rows: list[list[str]] = []
    for name, records in widest(by_setting(results.of("retrieval"))).items():
        through_index = sorted((each for each in records if each["search"] != "exact"), key=_is_not_the_engines_fp32)[
            :1
        ]
        for number, each in enumerate([each for each in records if each["search"] == "exact"] + through_index):
            at_k = [_at(each, k, "precision") for k in (1, 5, 10, 20)]
            rows.append([name if number == 0 else "", retrieval_label(each), *at_k, _at(each, 5, "hit"),
                         _share(each.get("map")), _share(each.get("same_10_nearest"), 3)])  # fmt: skip
    heads = ["original", "runtime, precision, search", "P@1", "P@5", "P@10", "P@20", "hit@5", "mAP", "same ten nearest"]
    return table(results, [], heads, rows, "")


def published(results: Results) -> str:
    """Published figures and what comes out here, as many in a row as belong together."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for each in results.of("published"):
        groups.setdefault((published_name(each), str(each.get("protocol") or "")), []).append(each)
    rows: list[list[str]] = []
    last = None
    for (name, protocol), records in groups.items():
        for part in _parts(records):
            is_all_same = all(verdict(each) == "same" for each in part)
            here = ", ".join(bold(figure(each["reproduced"]), verdict(each) == "same") for each in part)
            notes = "; ".join(dict.fromkeys(str(each["note"]) for each in part if each.get("note")))
            rows.append([name if name != last else "", protocol, ", ".join(str(each["figure"]) for each in part),
                         ", ".join(figure(each["published"]) for each in part),
                         "**the same**" if is_all_same else here, notes])  # fmt: skip
            last = name
    return table(results, [], ["original", "protocol", "figures", "published", "here", "why not"], rows,
                  "Bold: the same to the digits that were published. ")  # fmt: skip


def checks(results: Results) -> str:
    """Whether the harness tells the truth."""
    rows = [
        [each["claim"], words.found(each["found"]), "yes" if each["holds"] else "**NO**"]
        for each in results.of("check")
    ]
    return table(results, [], ["claim", "found", "holds"], rows, "")


def absent(results: Results) -> str:
    """Who did not take part, and why."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for each in results.of("absent"):
        who = " ".join(filter(None, (each["contender"], each.get("precision"))))
        rows.setdefault((each["suite"], who, each["reason"]), []).append(str(each.get("subject") or each["race"]))
    cells = [[f"{who}, {suite}", ", ".join(dict.fromkeys(of)), why] for (suite, who, why), of in rows.items()]
    return table(results, [], ["contender", "of", "why not"], cells, "")


# ------------------------------------------------------------------------------------------------------------------


def _parts(records: Sequence[Record]) -> list[list[Record]]:
    """Few figures in one row; many by what they are of: P, R and F1 each, and those of classes."""
    if len(records) <= _MOST_IN_A_ROW:
        return [list(records)]
    parts: dict[str, list[Record]] = {}
    for each in records:
        name = str(each["figure"])
        parts.setdefault(name.split(" ")[0] + " of" if " " in name else name.split("@")[0], []).append(each)
    return list(parts.values())


def _is_not_the_engines_fp32(record: Record) -> bool:
    return record.get("runtime") != "onnx" or record.get("precision") != "fp32"


def _at(record: Record, k: int, name: str) -> str:
    return _share(record["at_k"].get(str(k), {}).get(name))


def _share(value: float | None, digits: int = 4) -> str:
    return "" if value is None else words.share(value, digits)
