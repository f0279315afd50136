"""The tables of a run, for people and for README files, all made from its JSON document.

    python -m bench.gpu_check.tables bench/results/gpu-nvidia-h100-80gb-hbm3-2026-01-31.json

In: a document of `result`. Out: tables on the terminal, or Markdown.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.gpu_check.result import fastest

_VERDICTS = {True: "ok", False: "FAILED", None: "told"}

Document = Mapping[str, Any]
Row = Mapping[str, Any]


def show(document: Document, console: Console) -> None:
    """Checks, ceiling, speed, contenders and matching."""
    console.print(_table("checks", ["", "of", "precision", "what", "said"], _checks(document)))
    console.print(_table("largest matrix product", ["precision", "TFLOP/s"], _ceiling(document)))
    heads = ["model", "batch", "setting", "copies", "p50 ms", "p99 ms", "images/s", "TFLOP/s", "of ceiling"]
    console.print(_table("speed", heads, _speed(document["speed"])))
    heads = ["model", "batch", "contender", "precision", "copies", "p50 ms", "p99 ms", "images/s"]
    console.print(_table("beside others, in turns", heads, _contenders(document)))
    console.print(_table("matching", ["descriptors", "by", "p50 ms"], _matching(document)))
    for line in document["not_measured"]:
        console.print(f"not measured: {line}")


def markdown(document: Document) -> str:
    """What bench/results/README.md takes: the device, the checks' count, and the fastest of each batch size."""
    device, versions, facts = document["device"], document["versions"], document["device"].get("facts", {})
    counts = [sum(each["passed"] is verdict for each in document["checks"]) for verdict in _VERDICTS]
    lines = [
        f"### {device['name']}, {document['date']}",
        "",
        f"Driver {device['driver']}, ONNX Runtime {versions['onnxruntime-gpu'] or versions['onnxruntime']} (CUDA "
        f"{versions['onnxruntime built for CUDA']}, cuDNN {versions['cudnn in use']}), SM clock at most "
        f"{facts.get('clock_sm_max_mhz')} MHz, power limit {facts.get('power_limit_w')} W. Checks: {counts[0]} ok, "
        f"{counts[1]} failed, {counts[2]} told.",
        "",
        "| model | batch | precision | by | copies | images/s | p50 ms | p99 ms | TFLOP/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in _markdown_rows(document))])


def _best(rows: Sequence[Row]) -> Iterator[Row]:
    """The fastest of each model, batch size, precision, and of those with copies and without."""
    for model, batch in dict.fromkeys((row["model"], row["batch"]) for row in rows):
        for precision in ("fp32", "tf32", "fp16"):
            for copies in ("inside", "outside"):
                row = fastest(rows, model=model, batch=batch, copies=copies, precision=precision)
                if row is not None:
                    yield row


def _markdown_rows(document: Document) -> Iterator[list[str]]:
    batches = sorted({row["batch"] for row in document["speed"]})
    shown = {*batches[:1], *batches[-1:], *(batch for batch in batches if batch == 32)}
    for row in _best(document["speed"]):
        if row["batch"] in shown:
            yield _markdown_cells(row, _setting(row))
    for row in document["contenders"]:
        if "failed" not in row:
            yield _markdown_cells(row, row["contender"])


def _markdown_cells(row: Row, by: str) -> list[str]:
    rate = f"{row['tflop_per_sec']:.1f}" if row.get("tflop_per_sec") is not None else ""
    return [row["model"], str(row["batch"]), row["precision"], by, row["copies"], *_timed(row)[2:], *_timed(row)[:2],
            rate]  # fmt: skip


def _checks(document: Document) -> Iterator[list[str]]:
    for each in document["checks"]:
        yield [_VERDICTS[each["passed"]], each["subject"], each["precision"], each["name"], each["said"]]


def _ceiling(document: Document) -> Iterator[list[str]]:
    for row in document["ceiling"]:
        yield [row["precision"], f"{row['tflop_per_sec']:,.1f}" if "failed" not in row else f"failed: {row['failed']}"]


def _speed(rows: Sequence[Row]) -> Iterator[list[str]]:
    """What failed, the races in which a factor was turned, and the fastest of each batch size."""
    told = [row for row in rows if "failed" in row or ": batch" not in row["race"]]
    for row in (*told, *_best(rows)):
        first = [row["model"], str(row["batch"]), f"{row['precision']}, {_setting(row)}", row["copies"]]
        if "failed" in row:
            yield [*first, "failed", "", row["failed"], "", ""]
            continue
        share = row.get("share_of_ceiling")
        yield [*first, *_timed(row), f"{row.get('tflop_per_sec', 0):.1f}", f"{share:.0%}" if share else ""]


def _contenders(document: Document) -> Iterator[list[str]]:
    for row in document["contenders"]:
        first = [row["model"], str(row["batch"] or ""), row["contender"], row["precision"] or "", row["copies"]]
        yield [*first, *(_timed(row) if "failed" not in row else ["failed", "", row["failed"]])]
    for title, reason in document["absent"].items():
        yield ["", "", title, "", "", reason, "", ""]


def _matching(document: Document) -> Iterator[list[str]]:
    for row in document["matching"]:
        yield [row["title"], row["contender"], f"{row['p50_ms']:.2f}"]


def _setting(row: Row) -> str:
    graphs, layout = (", graphs" if row["graphs"] else ""), ("NHWC" if row["nhwc"] else "NCHW")
    return f"{row['io']}{graphs}, {layout}, {row['search'].lower()}"


def _timed(row: Row) -> list[str]:
    return [f"{row['p50_ms']:.3f}", f"{row['p99_ms']:.3f}", f"{row['images_per_sec']:,.0f}"]


def _table(title: str, heads: Sequence[str], rows: Iterator[list[str]]) -> Table:
    table = Table(title=title)
    for head in heads:
        is_number = head.endswith("ms") or "/s" in head or head in ("batch", "of ceiling")
        table.add_column(head, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
