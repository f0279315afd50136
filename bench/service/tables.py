"""The documents of `bench.service` as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

Document = dict[str, Any]


def cost(document: Document) -> Iterator[Table]:
    """Percentiles of each way, and the differences."""
    table = Table("one picture", title=f"{document['model']}, {document['rounds']} rounds of {document['calls']}")
    for heading in ("p50 ms", "p90 ms", "p99 ms", "most ms"):
        table.add_column(heading, justify="right")
    named = {
        "service": "POST /v1/embed over loopback",
        "batcher": "await batcher.embed",
        "encoder": "encoder.embed",
    }
    for way, found in document["ways"].items():
        table.add_row(named[way], *(_number(found[key]) for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms")))
    for key in ("service_less_batcher_ms", "service_less_encoder_ms"):
        table.add_row(key.removesuffix("_ms").replace("_", " "), _estimate(document[key]), "", "", "")
    yield table


def saturation(document: Document) -> Iterator[Table]:
    """A line for each number of images in a request."""
    for one in document["models"]:
        table = Table("images a request", title=f"{one['model']}: {one['description']}")
        for heading in (
            "requests in flight",
            "service images/s",
            "in process",
            "ratio",
            "client's CPU",
            "server's CPU",
        ):
            table.add_column(heading, justify="right")
        for line in one["lines"]:
            table.add_row(
                str(line["images_per_request"]),
                str(line["concurrency"]),
                f"{line['service_images_per_s']['value']:,.0f}",
                f"{line['in_process_images_per_s']['value']:,.0f}",
                _estimate(line["ratio"]),
                f"{line['client_cpu_share']:.2f}",
                f"{line['server_cpu_share']:.2f}",
            )
        yield table


def loadgen(document: Document) -> Iterator[Table]:
    """The highest rates."""
    table = Table("who", title=f"LoadGen's Server, {document['model']}, p99 under {document['bound_ms']:.2f} ms")
    for heading in ("one alone, ms", "queries/s", "closed", "rates tried", "right answers"):
        table.add_column(heading, justify="right")
    for who, found in document["contenders"].items():
        accuracy, search = found["accuracy"], found["search"]
        num_right = accuracy["num_samples"] - accuracy["num_wrong"] - accuracy["num_missing"]
        table.add_row(
            {"service": "over HTTP", "batcher": "batcher in process"}[who],
            f"{found['alone_ms']:.3f}",
            "none" if found["value"] is None else f"{found['value']:,.1f}",
            "yes" if search["is_closed"] else "no",
            str(len(search["probes"])),
            f"{num_right} of {accuracy['num_samples']}",
        )
    yield table


def soak(document: Document) -> Iterator[Table]:
    """A line for each thing that must hold."""
    table = Table(title=f"{document['model']}, {document['seconds']:.0f} s at twice the capacity")
    for heading in ("", "asked", "found", "holds"):
        table.add_column(heading, overflow="fold")
    words = {True: "yes", False: "NO", None: "not measured"}
    for each in document["checks"]:
        table.add_row(each["sort"], each["asked"], each["found"], words[each["holds"]])
    yield table
    figures = document["figures"]
    table = Table("", "images/s", title="what went through")
    for key in ("capacity_images_per_s", "offered_per_s", "goodput_images_per_s", "embedded_images_per_s"):
        table.add_row(key.rpartition("_per_s")[0].replace("_", " "), f"{figures[key]:,.1f}")
    table.add_row("outage, s", _number(figures["outage_s"]))
    table.add_row("client's CPU", f"{figures['client_cpu_share']:.2f}")
    yield table


def fuzz(document: Document) -> Iterator[Table]:
    """What was answered, by sort of mischief."""
    statuses = sorted({status for counts in document["statuses"].values() for status in counts})
    table = Table("mischief", title=f"{document['num_bodies']:,} bodies, seed {document['seed']}: {document['asked']}")
    for status in statuses:
        table.add_column(status, justify="right")
    for how, counts in document["statuses"].items():
        table.add_row(how, *(str(counts.get(status, "")) for status in statuses))
    yield table
    growth = ", ".join(f"{value:.2f} times that {since}" for since, value in document["growth"].items())
    table = Table("slowest", "memory at the end")
    table.add_row(f"{document['slowest_s']:.2f} s", growth or "too few bodies to tell")
    yield table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.3f}"


def _estimate(found: Document) -> str:
    interval = found["interval"]
    return f"{found['value']:.3f}" + (f" ({interval['low']:.3f} to {interval['high']:.3f})" if interval else "")
