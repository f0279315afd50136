"""The records of the originals as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.console import Console
from rich.table import Table

from bench.originals.reproduced import figure
from bench.records import Record
from semblance.inputs.datasets import CLASSES

_FIGURES = ("P@1", "P@5", "P@10", "P@30", "R@10", "hit@5")
_WIDTH = 190


def show(records: list[Record]) -> None:
    """Published beside reproduced, then one line for each variant, then what is missing, and what is wrong."""
    console = Console(width=_WIDTH)
    for table in (*_published(records), *_variants(records), *_representatives(records)):
        console.print(table)
    for record in records:
        if record["kind"] == "absent":
            told = f"{record['race']}: {record['contender']}, {record['precision']}: {record['reason']}"
            console.print(f"left out: {told}", markup=False)


def _published(records: list[Record]) -> Iterator[Table]:
    published = [record for record in records if record["kind"] == "published"]
    for (row, original), group in groupby(published, key=lambda record: (record["row"], record["original"])):
        table = Table(title=f"Row {row}, {original}: published")
        for heading in ("figure", "published", "here", "", "protocol", "why not"):
            table.add_column(heading, justify="right" if heading in ("published", "here") else "left")
        for each in group:
            is_known = each["reproduced"] is not None
            table.add_row(
                each["figure"], f"{each['published']:g}", _told(each["reproduced"]),
                "equal" if each["is_exact"] else "differs" if is_known else "left out", each["protocol"], each["note"],
            )  # fmt: skip
        yield table


def _variants(records: list[Record]) -> Iterator[Table]:
    def key(record: Record) -> tuple[int, str, str, str]:
        return record["row"], record["original"], record["weights"], record["protocol"]

    found: dict[tuple[int, str, str, str], list[Record]] = {}
    for record in records:
        if record["kind"] == "retrieval":
            found.setdefault(key(record), []).append(record)
    for (row, original, weights, protocol), group in found.items():
        first = group[0]
        counts = f"{first['num_queries']:,} queries of {first['num_gallery']:,}"
        table = Table(title=f"Row {row}, {original} ({weights}): {protocol}, {counts}, {first['data']}")
        for heading in ("runtime", "metric", "search"):
            table.add_column(heading, no_wrap=True)
        for heading in (*_FIGURES, "mAP", "mean rank", "same 10", "min cosine", "lost P@10", ""):
            table.add_column(heading, justify="right", no_wrap=True)
        for each in group:
            mean_rank = each["mean_rank"]
            table.add_row(
                _runtime(each), each["metric"], each["search"], *(_told(figure(each, name)) for name in _FIGURES),
                _told(each["map"]), "" if mean_rank is None else f"{mean_rank:,.1f}", _told(each["same_10_nearest"]),
                _told(each.get("min_cosine"), 6), _told(each.get("lost_p_at_10")),
                {True: "right", False: "WRONG", None: ""}[each["is_right"]],
            )  # fmt: skip
        yield table


def _representatives(records: list[Record]) -> Iterator[Table]:
    for record in records:
        if record["kind"] == "check" and isinstance(found := record["found"], dict) and "other_classes" in found:
            table = Table("first train image", title="SIFT scores against random train images")
            for other, label in zip(found["others"], found["other_classes"], strict=True):
                table.add_column(f"{label}\n{other}", justify="right")
            for label, representative, scores in zip(CLASSES, found["images"], found["scores"], strict=True):
                table.add_row(f"{label}, {representative}", *(f"{score:.2f}" for score in scores))
            yield table


def _runtime(record: Record) -> str:
    """As the engine's user would say it."""
    backend = f" {record['backend']}" if record["backend"] else ""
    return f"{record['runtime']}{backend} {record['precision']}"


def _told(value: float | None, decimals: int = 4) -> str:
    return "" if value is None else f"{value:.{decimals}f}"
