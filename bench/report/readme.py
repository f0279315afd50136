"""The README's tables written anew between their markers, and nothing else of it touched.

In: its text, and a result file. Out: its text with every table that stands between `<!-- bench:NAME -->` and
`<!-- /bench:NAME -->` made from the file, and the names of those that were otherwise before. Doing it twice changes
nothing. A marker that has no end, an end without a beginning, and a name that no table has are errors: a table that is
silently left as it was is what this is to prevent.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from bench.records import Results
from bench.report import found_tables, speed_tables
from semblance.errors import InputError

TABLES: dict[str, Callable[[Results], str]] = {
    "speed": speed_tables.speed,
    "latency": speed_tables.latency,
    "end-to-end": speed_tables.end_to_end,
    "start-up": speed_tables.start_up,
    "index": speed_tables.index,
    "matching": speed_tables.matching,
    "scenarios": found_tables.scenarios,
    "retrieval": found_tables.retrieval,
    "published": found_tables.published,
    "checks": found_tables.checks,
    "absent": found_tables.absent,
}
_MARKER = re.compile(r"<!-- (?P<end>/?)bench:(?P<name>[^\s>]*) -->")


def table(name: str, results: Results) -> str:
    """The table of that name. Raises InputError for one that there is not."""
    if name not in TABLES:
        raise InputError(f"no table {name!r} of a result file; there are: {', '.join(TABLES)}")
    return TABLES[name](results)


def rewritten(text: str, results: Results) -> tuple[str, list[str]]:
    """The new text and the tables that changed. Raises InputError for markers that are not in order, or not there."""
    parts, changed, position = [], [], 0
    for begin, end in _pairs(text):
        name = begin["name"]
        new = f"\n{table(name, results)}\n"
        if text[begin.end() : end.start()] != new:
            changed.append(name)
        parts += [text[position : begin.end()], new]
        position = end.start()
    return "".join([*parts, text[position:]]), changed


def _pairs(text: str) -> list[tuple[re.Match[str], re.Match[str]]]:
    markers = list(_MARKER.finditer(text))
    if not markers:
        raise InputError(
            "there is no marker in it; put <!-- bench:NAME --> and <!-- /bench:NAME --> where a table is to be"
        )
    pairs, opened = [], None
    for marker in markers:
        line = text.count("\n", 0, marker.start()) + 1
        if opened is None:
            if marker["end"]:
                raise InputError(f"line {line}: {marker[0]} ends what has not begun")
            opened = marker
        elif not marker["end"] or marker["name"] != opened["name"]:
            raise InputError(f"line {line}: {opened[0]} is not closed before {marker[0]}")
        else:
            pairs.append((opened, marker))
            opened = None
    if opened is not None:
        raise InputError(f"{opened[0]} is not closed by <!-- /bench:{opened['name']} -->")
    return pairs
