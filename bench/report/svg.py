"""Charts as SVG, drawn here: lines with marks, stairs, bars, points with intervals.

In: data in their own units, axes, and looks. Out: an `<svg>` element as text, a few kilobytes. Colours are CSS
variables (`palette`), so that one drawing serves light and dark pages; every mark has a title that a pointer shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.report import words
from bench.report.axis import Axis
from bench.report.palette import Look

_TEXT_PX, _TITLE_PX = 11, 13
_LETTER_PX = 6.2  # about as wide as a letter is, which only a browser knows
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 14, 32, 42
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Line:
    """One line, or the marks of one contender."""

    name: str
    look: Look
    points: tuple[tuple[float, float], ...]
    titles: tuple[str, ...] = ()  # of the points; empty: no marks
    has_line: bool = True
    width: float = 1.8


def chart(title: str, lines: Sequence[Line], x: Axis, y: Axis, *, width: int = 380, height: int = 260,
          note: str = "", is_bare: bool = False) -> str:  # fmt: skip
    """Lines and marks over two axes. `note` stands at the right of the title; `is_bare`: without the outer element."""
    frame = _Frame(x, y, width, height)
    parts = [_title(title, note, width), *frame.drawn()]
    for line in lines:
        places = [frame.at(*point) for point in line.points]
        if line.has_line and len(places) > 1:
            path = "M" + "L".join(f"{px:.1f},{py:.1f}" for px, py in places)
            dash = f' stroke-dasharray="{line.look.dash}"' if line.look.dash else ""
            parts.append(
                f'<path d="{path}" fill="none" stroke="var(--{line.look.color})" stroke-width="{line.width}" '
                f'stroke-linejoin="round"{dash}><title>{escape(line.name)}</title></path>'
            )
        parts += [
            mark(px, py, line.look, told) for (px, py), told in zip(places, line.titles, strict=False)
        ]  # titles may be none
    inside = "".join(parts)
    return inside if is_bare else whole(inside, width, height, title)


def whole(inside: str, width: float, height: float, title: str) -> str:
    """The outer element."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{escape(title)}" font-family="{FONT}" '
        f'font-size="{_TEXT_PX}" fill="var(--faint)">{inside}</svg>'
    )


def bars(title: str, rows: Sequence[tuple[str, Sequence[tuple[str, str, float]]]], *, width: int = 520) -> str:
    """A stacked bar a row, each as long as the others: its name, then parts as (name, colour, seconds)."""
    left, right, row_px, bar_px = 170, 70, 30, 16
    drawn = [_title(title, "", width)]
    for number, (name, parts) in enumerate(rows):
        y, x = 40 + number * row_px, float(left)
        total = sum(seconds for *_, seconds in parts)
        drawn.append(_text(left - 8, y + bar_px - 4, name, anchor="end", color="ink"))
        for part, color, seconds in parts:
            share = seconds / total if total else 0.0
            across = share * (width - left - right)
            drawn.append(
                f'<rect x="{x:.1f}" y="{y}" width="{max(across - 1, 0.5):.1f}" height="{bar_px}" rx="2" '
                f'fill="var(--{color})"><title>{escape(part)}: {escape(words.percent(share))}</title></rect>'
            )
            x += across
        drawn.append(_text(width - right + 6, y + bar_px - 4, words.duration(total)))
    return whole("".join(drawn), width, 48 + row_px * len(rows), title)


def dots(title: str, rows: Sequence[tuple[str, Look, float, tuple[float, float] | None]], axis: Axis, *,
         width: int = 480, base: float | None = None, note: str = "",
         is_bare: bool = False) -> str:  # fmt: skip
    """One mark a row with its interval as a whisker, over one axis; `base` is a line that they are set against."""
    row_px, top = 20, 40
    bottom = top + row_px * len(rows)
    left = min(max((len(name) for name, *_ in rows), default=0) * _LETTER_PX + 16, 0.6 * width)
    across = width - left - 56

    def at(value: float) -> float:
        return left + across * min(max(axis.place(value), 0.0), 1.0)

    drawn = [_title(title, note, width)]
    for tick in axis.marks(5):
        drawn.append(_rule(at(tick), top - 8, at(tick), bottom - 2))
        drawn.append(_text(at(tick), bottom + 12, axis.write(tick), anchor="middle"))
    drawn.append(_text(left + across / 2, bottom + 27, axis.label, anchor="middle"))
    if base is not None:
        drawn.append(_rule(at(base), top - 8, at(base), bottom - 2, color="faint", width=1.4))
    for number, (name, shown, value, interval) in enumerate(rows):
        y = top + row_px * number + 4
        drawn.append(_text(left - 8, y + 4, name, anchor="end", color="ink"))
        if base is not None:
            drawn.append(_rule(at(base), y, at(value), y, color=shown.color, width=2, opacity=0.45))
        if interval:
            drawn.append(_rule(at(interval[0]), y, at(interval[1]), y, color=shown.color, width=5, opacity=0.35))
        drawn.append(mark(at(value), y, shown, f"{name}: {axis.write(value)}", radius=4.5))
        end = max(value, interval[1] if interval else value, base or value)  # where nothing is drawn any more
        drawn.append(_text(at(end) + 9, y + 4, words.times(value), color="ink"))
    inside = "".join(drawn)
    return inside if is_bare else whole(inside, width, bottom + 36, title)


def swatch(look: Look, *, has_line: bool = True) -> str:
    """A sample of a look, for a legend."""
    dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
    line = f'<path d="M1,7H29" stroke="var(--{look.color})" stroke-width="2"{dash}/>' if has_line else ""
    left, width = (0, 30) if has_line else (8, 14)
    box = f'width="{width}" height="14" viewBox="{left} 0 {width} 14"'
    return f'<svg {box} aria-hidden="true">{line}{mark(15, 7, look, "")}</svg>'


def mark(x: float, y: float, look: Look, title: str, *, radius: float = 3.4) -> str:
    """One mark, with what a pointer shows."""
    told = f"<title>{escape(title)}</title>" if title else ""
    fill = f'fill="var(--{look.color})" stroke="var(--paper)" stroke-width="0.8"'
    if look.mark == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" {fill}>{told}</circle>'
    r = radius * {"square": 0.9, "diamond": 1.25, "triangle": 1.2, "down": 1.2}[look.mark]
    corners = {
        "square": ((-r, -r), (r, -r), (r, r), (-r, r)),
        "diamond": ((0, -r), (r, 0), (0, r), (-r, 0)),
        "triangle": ((0, -r), (r, 0.8 * r), (-r, 0.8 * r)),
        "down": ((0, r), (r, -0.8 * r), (-r, -0.8 * r)),
    }[look.mark]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" {fill}>{told}</polygon>'


def cloud(title: str, groups: Sequence[tuple[str, str, Sequence[tuple[float, float]]]], *, side: int = 560) -> str:
    """Points without axes: a name, a colour by value and points for each group. One path a group keeps it small."""
    every = [point for *_, points in groups for point in points]
    xs, ys = [x for x, _ in every], [y for _, y in every]
    low_x, low_y = min(xs, default=0.0), min(ys, default=0.0)
    scale = (side - 24) / (max(max(xs, default=1.0) - low_x, max(ys, default=1.0) - low_y) or 1.0)
    parts = []
    for name, color, points in groups:
        path = "".join(f"M{12 + (x - low_x) * scale:.1f},{12 + (y - low_y) * scale:.1f}h0" for x, y in points)
        parts.append(
            f'<path d="{path}" stroke="{color}" stroke-width="4.5" stroke-linecap="round" opacity="0.75">'
            f"<title>{escape(name)}</title></path>"
        )
    return whole("".join(parts), side, side, title)


def text(x: float, y: float, content: str, *, anchor: str = "start", color: str = "faint", size: float = _TEXT_PX,
         weight: int = 400) -> str:  # fmt: skip
    """Text at a place."""
    return _text(x, y, content, anchor=anchor, color=color, size=size, weight=weight)


# ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where data come to lie."""

    x: Axis
    y: Axis
    width: int
    height: int

    def at(self, x: float, y: float) -> tuple[float, float]:
        across, up = self.x.place(x), self.y.place(y)
        return (_LEFT + min(max(across, 0.0), 1.0) * (self.width - _LEFT - _RIGHT),
                self.height - _BOTTOM - min(max(up, 0.0), 1.0) * (self.height - _TOP - _BOTTOM))  # fmt: skip

    def drawn(self) -> list[str]:
        """Grid, numbers and labels."""
        base, parts = self.height - _BOTTOM, []
        for tick in self.y.marks(5):
            _, py = self.at(self.x.low, tick)
            parts.append(_rule(_LEFT, py, self.width - _RIGHT, py))
            parts.append(_text(_LEFT - 6, py + 4, self.y.write(tick), anchor="end"))
        for tick in self.x.marks(6):
            px, _ = self.at(tick, self.y.low)
            parts.append(_rule(px, base, px, base + 4, color="faint"))
            parts.append(_text(px, base + 16, self.x.write(tick), anchor="middle"))
        parts.append(_rule(_LEFT, base, self.width - _RIGHT, base, color="faint"))
        parts.append(_text((_LEFT + self.width - _RIGHT) / 2, self.height - 8, self.x.label, anchor="middle"))
        middle = (_TOP + base) / 2
        parts.append(
            f'<text transform="translate(11,{middle:.0f}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y.label)}</text>"
        )
        return parts


def _title(title: str, note: str, width: float) -> str:
    told = _text(width - _RIGHT, 16, note, anchor="end") if note else ""
    return _text(8, 16, title, color="ink", size=_TITLE_PX, weight=600) + told


def _text(x: float, y: float, content: str, *, anchor: str = "start", color: str = "faint", size: float = _TEXT_PX,
          weight: int = 400) -> str:  # fmt: skip
    more = f' font-size="{size:g}"' if size != _TEXT_PX else ""
    more += f' font-weight="{weight}"' if weight != 400 else ""
    more += f' text-anchor="{anchor}"' if anchor != "start" else ""
    more += f' fill="var(--{color})"' if color != "faint" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(content)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, *, color: str = "rule", width: float = 1.0,
          opacity: float = 1.0) -> str:  # fmt: skip
    faded = f' stroke-opacity="{opacity:g}"' if opacity < 1 else ""
    return f'<path d="M{x1:.1f},{y1:.1f}L{x2:.1f},{y2:.1f}" stroke="var(--{color})" stroke-width="{width:g}"{faded}/>'
