"""Which form of an answer is asked for."""

from __future__ import annotations

import pytest

from semblance.service.accepts import prefers


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False), ("*/*", False), ("application/json", False), ("application/octet-stream", True),
        ("application/octet-stream, */*", True), ("application/octet-stream;q=0", False),
        ("application/octet-stream;q=0, */*", False), ("application/octet-stream;q=0.5, application/json", False),
        ("application/octet-stream, application/json;q=0.5", True),
        ("application/json, application/octet-stream", False),
        ("Application/Octet-Stream", True), ("application/octet-stream; q=0.1, */*", False),
        ("*/*;q=0.1, application/octet-stream ; q=0.2", True),
        ("application/octet-stream;q=0.3, application/*;q=0.9", False), ("application/octet-stream;q=x", False),
        ("application/octet-streams", False), ("application/octet-stream;v=1;Q=0", False),
        ("application/octet-stream;q=nan", False),
    ],
)  # fmt: skip
def test_which_form_is_asked_for(accept: str, expected: bool) -> None:
    assert prefers(accept, "application/octet-stream", "application/json") is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json", True), ("application/json, text/plain, */*", True),
        ("image/webp,image/*,*/*;q=0.8", False),
        ("image/*, application/json;q=0.5", False), ("image/png;q=0.9, application/json", True), ("text/html", False),
        ("application/json, image/jpeg", False),
    ],
)  # fmt: skip
def test_against_several(accept: str, expected: bool) -> None:
    assert prefers(accept, "application/json", "image/jpeg", "image/png") is expected
