"""The README's chart, an SVG file of its own: rate over batch size for each model, and as times the original's.

In: a result file. Out: an SVG with its own light paper, so that it is legible wherever it is shown, and with colours by
value, since not every program that shows SVG knows variables. No picture of any data set is in it.
"""

from __future__ import annotations

from bench.records import Results
from bench.report import svg, words
from bench.report.charts import by_subject, looks, over_batches, ratio_axis, ratio_rows
from bench.report.palette import Look, resolved
from bench.report.races import Race, races, with_best_originals
from semblance.errors import InputError

_WIDTH, _PAD, _GAP = 1000, 20, 16
_HEIGHT = 230
_MOST_MODELS = 6


def picture(results: Results) -> str:
    """The chart. Raises InputError for a file without races of throughput that have an original."""
    found = [with_best_originals(race) for race in races(results, "throughput")]
    found = [race for race in found if race.original and race.workload.get("batch")]
    if not found:
        raise InputError(f"{results.path} has no race of throughput with an original; there is nothing to draw")
    models = dict(list(by_subject(found).items())[:_MOST_MODELS])
    shown = looks(race for own in models.values() for race in own)
    per_row = 2 if len(models) in (2, 4) else min(3, len(models))
    cell = (_WIDTH - 2 * _PAD - (per_row - 1) * _GAP) // per_row
    parts, y = [_text(_PAD, 34, "Images per second, beside TensorFlow", size=19, weight=650)], 56.0
    legend, y = _legend(list(shown.values()), y)
    parts.append(legend)
    for number, (model, own) in enumerate(models.items()):
        column, row = number % per_row, number // per_row
        drawn = over_batches(model, own, shown, width=cell, height=_HEIGHT, is_bare=True)
        parts.append(_at(_PAD + column * (cell + _GAP), y + row * (_HEIGHT + _GAP), drawn))
    y += -(-len(models) // per_row) * (_HEIGHT + _GAP) + 8
    ratios, y = _ratios(models, shown, per_row, cell, y)
    parts += [ratios, *_said(results, found, y)]
    height = y + 50
    paper = f'<rect width="{_WIDTH}" height="{height:g}" rx="12" fill="var(--paper)" stroke="var(--rule)"/>'
    return (
        resolved(svg.whole(paper + "".join(parts), _WIDTH, height, "Images per second by batch size and runtime"))
        + "\n"
    )


# ------------------------------------------------------------------------------------------------------------------


def _ratios(
    models: dict[str, list[Race]], shown: dict[str, tuple[str, Look]], per_row: int, cell: int, y: float
) -> tuple[str, float]:
    """The smallest batch of each model, as times the original's rate, and where they end."""
    parts, top, number = (
        [_text(_PAD, y + 18, "As times the original's rate, with 95 % intervals", size=15, weight=650)],
        y + 30,
        0,
    )
    height = 0.0
    for model, own in models.items():
        race = min(own, key=lambda each: each.workload["batch"])
        rows = ratio_rows(race, shown)
        if not rows or race.original is None:
            continue
        if number and number % per_row == 0:
            top, height = top + height, 0.0
        axis = ratio_axis([race], f"times {race.original.record['title']}")
        drawn = svg.dots(model, rows, axis, base=1.0, note=race.workload["name"], width=cell, is_bare=True)
        parts.append(_at(_PAD + (number % per_row) * (cell + _GAP), top, drawn))
        height, number = max(height, 84.0 + 20 * len(rows)), number + 1
    return "".join(parts), top + height


def _legend(items: list[tuple[str, Look]], y: float) -> tuple[str, float]:
    """Samples and names in as many lines as they take, and where the charts may begin."""
    parts, x = [], float(_PAD)
    for name, look in items:
        width = 48 + 6.6 * len(name)
        if x + width > _WIDTH - _PAD:
            x, y = float(_PAD), y + 20
        dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
        line = f'<path d="M{x:g},{y:g}h28" stroke="var(--{look.color})" stroke-width="2"{dash}/>'
        parts.append(line + svg.mark(x + 14, y, look, "") + _text(x + 35, y + 4, name, size=12))
        x += width
    return "".join(parts), y + 16


def _said(results: Results, found: list[Race], y: float) -> list[str]:
    originals = words.listed(list(dict.fromkeys(str(race.original.record["title"]) for race in found if race.original)))
    first = f"Both axes logarithmic; decoding outside; ratios to {originals}, the fastest original of each race."
    return [svg.text(_PAD, y + 14, first), svg.text(_PAD, y + 32, words.provenance(results.run))]


def _at(x: float, y: float, inside: str) -> str:
    return f'<g transform="translate({x:g},{y:g})">{inside}</g>'


def _text(x: float, y: float, content: str, *, size: float, weight: int = 400) -> str:
    return svg.text(x, y, content, color="ink", size=size, weight=weight)
