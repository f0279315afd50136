"""Elements of the page: tables, legends, facts, notes. Whatever comes in as text is escaped here, and nowhere else.

In: texts and numbers. Out: HTML as text. A cell that holds markup of our own says so by `html`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from bench.report import svg, words
from bench.report.palette import Look

_LONG = 60  # characters of a value that gets a line of its own


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table."""

    text: str = ""
    sort: float | None = None  # what it is sorted by; None: its text, or last in a column of numbers
    kind: str = ""  # classes: best, bad, quiet
    before: str = ""  # HTML in front of the text
    fill: float | None = None  # a bar behind it, 0 to 1
    hint: str = ""  # what a pointer shows


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and whether its cells are numbers."""

    heading: str
    is_number: bool = True
    hint: str = ""


def word(heading: str) -> Column:
    """A column of words."""
    return Column(heading, is_number=False)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows under a heading of their own; none where it is empty."""

    heading: str
    rows: Sequence[Sequence[Cell]]
    detail: str = ""  # behind the heading, in lighter letters


def table(columns: Sequence[Column], groups: Iterable[Group], *, caption: str = "") -> str:
    """A table, in a box that scrolls sideways where the screen is narrow."""
    head = "".join(
        f'<th scope="col"{_attribute("class", "n" if each.is_number else "")}{_attribute("title", each.hint)}>'
        f"{escape(each.heading)}</th>"
        for each in columns
    )
    bodies = "".join(_body(columns, group) for group in groups)
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{told}<thead><tr>{head}</tr></thead>{bodies}</table></div>'


def section(name: str, title: str, *parts: str) -> str:
    """A part of the page that the list at the top links to."""
    return f'<section id="{escape(name)}"><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def note(text: str, kind: str = "note") -> str:
    """A paragraph in small print."""
    return f'<p class="{kind}">{escape(text)}</p>' if text else ""


def missing(text: str) -> str:
    """A paragraph that says that something is not here, and why."""
    return note(text, "missing")


def heading(text: str) -> str:
    """Within a section."""
    return f"<h3>{escape(text)}</h3>"


def legend(items: Iterable[tuple[str, Look]], *, has_line: bool = True) -> str:
    """Names and looks, each name once."""
    shown = dict(items)
    inside = "".join(f"<li>{svg.swatch(look, has_line=has_line)} {escape(name)}</li>" for name, look in shown.items())
    return f'<ul class="legend">{inside}</ul>'


def key(items: Iterable[tuple[str, str]]) -> str:
    """Names and colours (a CSS value each) of areas or points."""
    inside = "".join(f'<li><i style="background:{color}"></i>{escape(name)}</li>' for name, color in items)
    return f'<ul class="legend">{inside}</ul>'


def charts(drawn: Sequence[str], captions: Sequence[str] = (), *, is_wide: bool = False) -> str:
    """Small multiples side by side, each with its caption where there are captions."""
    told = [f"<figcaption>{escape(each)}</figcaption>" for each in captions] or [""] * len(drawn)
    inside = "".join(f"<figure>{each}{caption}</figure>" for each, caption in zip(drawn, told, strict=True))
    return f'<div class="charts{" broad" if is_wide else ""}">{inside}</div>' if drawn else ""


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values."""
    inside = "".join(
        f"<div{_attribute('class', 'whole' if len(value) > _LONG else '')}><dt>{escape(name)}</dt>"
        f"<dd>{escape(value)}</dd></div>"
        for name, value in pairs
    )
    return f'<dl class="facts">{inside}</dl>'


def picture(uri: str, alternative: str, caption: str) -> str:
    """A picture within the page."""
    return (
        f'<figure class="sheet"><img src="{escape(uri)}" alt="{escape(alternative)}" loading="lazy">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def folded(summary: str, inside: str) -> str:
    """What is opened on demand, without a script."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def share_cell(value: float | None, *, digits: int = 4, kind: str = "", fill: float | None = None) -> Cell:
    """A figure between 0 and 1."""
    return Cell(words.share(value, digits), value, kind, fill=fill)


# ------------------------------------------------------------------------------------------------------------------


def _body(columns: Sequence[Column], group: Group) -> str:
    detail = f" <small>{escape(group.detail)}</small>" if group.detail else ""
    head = (
        f'<tr class="group"><th scope="rowgroup" colspan="{len(columns)}">'
        f"<span>{escape(group.heading)}{detail}</span></th></tr>"
        if group.heading
        else ""
    )
    return f"<tbody>{head}{''.join(_row(columns, row) for row in group.rows)}</tbody>"


def _row(columns: Sequence[Column], row: Sequence[Cell]) -> str:
    return f"<tr>{''.join(_cell(column, cell) for column, cell in zip(columns, row, strict=True))}</tr>"


def _cell(column: Column, cell: Cell) -> str:
    kind = " ".join(filter(None, ("n" if column.is_number else "", cell.kind)))
    sort = _attribute("data-sort", "" if cell.sort is None else f"{cell.sort:.9g}")
    fill = "" if cell.fill is None else f' style="--fill:{100 * min(max(cell.fill, 0.0), 1.0):.0f}%"'
    attributes = _attribute("class", kind) + sort + fill + _attribute("title", cell.hint)
    return f"<td{attributes}>{cell.before}{escape(cell.text)}</td>"


def _attribute(name: str, value: str) -> str:
    return f' {name}="{escape(value)}"' if value else ""
