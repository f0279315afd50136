"""Lines of text: what they are shortened to, and that what was measured is what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from semblance import draw_text
from semblance.draw_text import INK, put_text, shorten, text_width


@pytest.mark.parametrize("has_font", [True, False])
def test_shortening_keeps_the_beginning_and_the_end(has_font: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_font:
        monkeypatch.setattr(draw_text, "_font", lambda: None)
    ellipsis = "…" if has_font else "..."
    long = "a very long class name indeed  0.123"
    shorter = shorten(long, 140, 14)
    assert shorter.startswith("a very")
    assert shorter.endswith("0.123")
    assert ellipsis in shorter
    assert text_width(shorter, 14) <= 140
    assert shorten("short", 140, 14) == "short"
    assert shorten("", 140, 14) == ""
    assert shorten("two\nlines", 140, 14) == "two lines"
    assert shorten(long, 1, 14) == ellipsis


@pytest.mark.parametrize("has_font", [True, False])
@pytest.mark.parametrize("weight", [400, 600])
def test_a_line_is_as_wide_as_it_was_said_to_be(has_font: bool, weight: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_font:
        monkeypatch.setattr(draw_text, "_font", lambda: None)
    sheet = np.full((40, 400, 3), 255, np.uint8)
    put_text(sheet, "", 10, 10, 16, INK, weight=weight)
    assert (sheet == 255).all()
    put_text(sheet, "40 matches", 10, 10, 16, INK, weight=weight)
    columns = np.flatnonzero((sheet < 200).any(axis=(0, 2)))
    assert columns[0] >= 9
    assert abs(columns[-1] - 10 - text_width("40 matches", 16, weight=weight)) <= 4
