"""A Markdown table of the README, and the line beneath it that says what it was measured on.

In: headings, rows of texts, and the races that the figures are from. Out: Markdown. Whatever would end a cell or begin
an element is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.records import Results
from bench.report import words
from bench.report.races import Race

EMPTY = "The result file has nothing of this."


def table(
    results: Results, found: Sequence[Race], heads: Sequence[str], rows: Sequence[Sequence[str]], said: str
) -> str:
    """Rows under headings; beneath them `said`, and what it was measured on. A sentence where there are no rows."""
    if not rows:
        return EMPTY
    lines = [_line(heads), "|---" * len(heads) + "|", *map(_line, rows)]
    beneath = f"{said}{words.provenance(results.run, _versions(results, found))}"
    return "\n".join([*lines, "", beneath])


def bold(text: str, is_bold: bool) -> str:
    """In bold, where it is to be and is not empty."""
    return f"**{text}**" if is_bold and text else text


# ------------------------------------------------------------------------------------------------------------------


def _line(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in map(_cell, cells))


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _versions(results: Results, found: Sequence[Race]) -> dict[str, str]:
    """Of what took part in these races; where they are none, of the run."""
    versions: dict[str, str] = {}
    for race in found:
        for entry in race.entries:
            versions |= entry.record.get("versions") or {}
    return versions or dict(results.run.get("versions") or {})
