"""Which colour, dash and mark a contender has: the same in every picture, and told apart without colour as well.

In: a contender's file name and precision. Out: a name of a colour, whose values for light and dark backgrounds are in
`COLORS`, and how its line and points are drawn. A runtime has a colour, a precision has a dash and a mark. The colours
are those of Okabe and Ito ("Color Universal Design", 2008), darkened or lightened until they stand out from their
background; contenders that are not known here get a colour by the order in which they are met.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

COLORS = {  # on light, on dark
    "vermillion": ("#c8510a", "#f0844a"),
    "amber": ("#b07a00", "#e9b44c"),
    "blue": ("#0067ad", "#5aaef0"),
    "green": ("#007f5c", "#3fc79c"),
    "sky": ("#3f97cf", "#9bd2f7"),
    "purple": ("#a8478b", "#dd8fc3"),
    "brown": ("#7a5a45", "#c9a48c"),
    "grey": ("#6b7280", "#a5abb5"),
    "ink": ("#1d2530", "#e6e9ee"),
    "faint": ("#646d7a", "#9aa3b0"),
    "rule": ("#dfe3e8", "#343b46"),
    "paper": ("#ffffff", "#161b22"),
}
# By what a contender's file name has in it; the first that fits
_FAMILIES = (
    (r"tensorflow|^tf|sklearn|bfmatcher|opencv", "vermillion"),
    (r"keras", "amber"),
    (r"torch", "purple"),
    (r"ort_plain|pillow|usearch", "sky"),
    (r"openvino", "green"),
    (r"cuda|tensorrt|directml|coreml|migraphx", "brown"),
    (r"ort|onnx|semblance|engine", "blue"),
    (r"faiss", "purple"),
    (r"hnswlib|flann", "brown"),
    (r"product|alone|ceiling|pixels", "grey"),
)
_OTHERS = ("brown", "sky", "amber", "purple", "grey", "green")
_DASHES = {"fp32": "", "bf16": "7 3", "fp16": "1.5 3", "int8": "4 2.5"}
_MARKS = {"fp32": "circle", "bf16": "square", "fp16": "diamond", "int8": "triangle"}
_IN_TURN = (("", "circle"), ("4 2.5", "triangle"), ("7 3", "square"), ("1.5 3", "diamond"), ("10 2", "down"))
CLASSES = (  # ten classes of points; light and dark are told apart in lightness too
    "#0067ad", "#e69f00", "#007f5c", "#cc79a7", "#7a5a45", "#56b4e9", "#c8510a", "#8a8f98", "#b8b000", "#5b3fa0",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """How one contender is drawn."""

    color: str  # a key of COLORS
    dash: str  # of its line, as SVG has it; empty: whole
    mark: str  # circle, square, diamond, triangle, or down: one that stands on its tip


def look(contender: str, precision: str | None, met: Sequence[str] = ()) -> Look:
    """The look of a contender; `met` are the names of all that the picture has, in order.

    Those without a precision, as of an index, that share a colour are told apart by dash and mark instead.
    """
    color = _color(contender, met)
    if precision is None:
        alike = [each for each in dict.fromkeys(met) if _color(each, met) == color]
        number = alike.index(contender) if contender in alike else 0
        return Look(color, *_IN_TURN[number % len(_IN_TURN)])
    return Look(color, _DASHES.get(precision, "2 2"), _MARKS.get(precision, "circle"))


def _color(contender: str, met: Sequence[str]) -> str:
    for pattern, color in _FAMILIES:
        if re.search(pattern, contender):
            return color
    strangers = [each for each in dict.fromkeys(met) if not any(re.search(p, each) for p, _ in _FAMILIES)]
    return _OTHERS[strangers.index(contender) % len(_OTHERS)] if contender in strangers else "grey"


def resolved(svg: str) -> str:
    """The same drawing for one that stands alone on light paper: colours by value instead of by name."""
    return re.sub(r"var\(--(\w+)\)", lambda found: COLORS[found[1]][0], svg)


def variables(which: int) -> str:
    """CSS that gives the colours their values; 0: on light, 1: on dark."""
    return "".join(f"--{name}:{values[which]};" for name, values in COLORS.items())
