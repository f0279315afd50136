"""What LoadGen wrote of a run, read: its verdict and figures, and the latency of each query.

In: the folder of a run. LoadGen judges, and nothing is judged again here: whether a run is valid, whether there were
queries enough to stop, and each percentile are its own words. Latencies stand in its trace alone, since its other logs
keep none; a trace takes a quarter of a kilobyte for each sample.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SAMPLE = re.compile(r'"name":"Sample".*"query_seq":(\d+),.*"complete_ns":(\d+)')
_ESTIMATE = re.compile(r"^Early stopping (.*)th percentile estimate: (\d+)$")


@dataclass(frozen=True, slots=True)
class Summary:
    """LoadGen's summary of one performance run."""

    scenario: str
    is_valid: bool
    satisfied: dict[
        str, bool
    ]  # "Min duration", "Min queries", "Early stopping", and "Performance constraints" of Server
    recommendations: tuple[str, ...]
    early_stopping: tuple[str, ...]  # what it says of stopping early, item by item
    estimates_ns: dict[str, int]  # percentile -> its conservative estimate, where there were queries enough
    figures: dict[str, float]  # all other numbers, by LoadGen's own names

    def figure(self, name: str) -> float:
        """One of the figures. Raises ValueError, naming those that there are."""
        if name not in self.figures:
            raise ValueError(f"LoadGen's summary has no {name!r}; it has {', '.join(self.figures) or 'no figures'}")
        return self.figures[name]


def read_summary(folder: Path) -> Summary:
    """The summary of the run in `folder`. Raises ValueError where it is none of a performance run."""
    return parse_summary((folder / "mlperf_log_summary.txt").read_text())


def parse_summary(text: str) -> Summary:
    """LoadGen's text, all of which stands in lines of `name : value` and lists under a title."""
    words: dict[str, str] = {}
    satisfied: dict[str, bool] = {}
    lists: dict[str, list[str]] = {"Recommendations": [], "Early Stopping Result": []}
    open_list: list[str] | None = None
    for line in text.partition("Test Parameters Used")[0].splitlines():
        name, colon, value = (part.strip() for part in line.partition(":"))
        if colon and not value and name in lists:
            open_list = lists[name]
        elif open_list is not None and line.startswith(" * "):
            open_list.append(line[3:].strip())
        elif open_list and line.startswith(" "):  # a list's item goes on
            open_list[-1] += f" {line.strip()}"
        elif colon and name.endswith(" satisfied"):
            satisfied[name.removesuffix(" satisfied")] = value.lower() == "yes"
        elif colon and value:
            words[name], open_list = value, None
    if "Result is" not in words:
        raise ValueError("LoadGen's summary has no result; only a performance run has one")
    stopping = tuple(lists["Early Stopping Result"])
    return Summary(
        scenario=words["Scenario"],
        is_valid=words["Result is"] == "VALID",
        satisfied=satisfied,
        recommendations=tuple(lists["Recommendations"]),
        early_stopping=stopping,
        estimates_ns={match[1]: int(match[2]) for match in map(_ESTIMATE.match, stopping) if match},
        figures={name: number for name, value in words.items() if (number := _number(value)) is not None},
    )


def read_details(folder: Path) -> dict[str, Any]:
    """The last value of each key of LoadGen's detail log: `result_query_count`, `num_errors`, `loadgen_version`."""
    details = {}
    for line in (folder / "mlperf_log_detail.txt").read_text().splitlines():
        head, _, document = line.partition(" ")
        if head == ":::MLLOG":
            entry = json.loads(document)
            details[entry["key"]] = entry["value"]
    return details


def read_errors(folder: Path) -> list[str]:
    """What LoadGen calls errors of the run."""
    entries = (
        json.loads(line.partition(" ")[2])
        for line in (folder / "mlperf_log_detail.txt").read_text().splitlines()
        if '"is_error": true' in line
    )
    return [f"{entry['key']}: {entry['value']}" for entry in entries]


def read_latencies_ns(folder: Path) -> list[int]:
    """Of each query, in the order in which they were issued: from when it was due to its last sample's response.

    Offline has one query.
    """
    latest: dict[int, int] = {}
    for query, latency in _samples(folder / "mlperf_log_trace.json"):
        latest[query] = max(latest.get(query, 0), latency)
    return [latest[query] for query in sorted(latest)]


def _samples(trace: Path) -> Iterator[tuple[int, int]]:
    """The query of each sample, and its latency in ns."""
    with trace.open() as lines:
        for line in lines:
            if found := _SAMPLE.search(line):
                yield int(found[1]), int(found[2])


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
