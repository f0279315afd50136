"""Names with braces."""

from __future__ import annotations

import pytest

from semblance.errors import SourceError
from semblance.inputs.braces import expand_braces


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{8..11}.tar", ["a-8.tar", "a-9.tar", "a-10.tar", "a-11.tar"]),
        ("a-{008..010}.tar", ["a-008.tar", "a-009.tar", "a-010.tar"]),
        ("{x,y}/{0..1}.tar", ["x/0.tar", "x/1.tar", "y/0.tar", "y/1.tar"]),
        ("a{,-b}.tar", ["a.tar", "a-b.tar"]),
        ("{5..5}", ["5"]),
    ],
)
def test_braces_stand_for_names_in_order(spec: str, names: list[str]) -> None:
    assert expand_braces(spec) == names


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("{3..1}", r"\{3\.\.1\} is no range; expected \{000\.\.012\}, the smaller number first"),
        ("{x}", "is no range"),
        ("{}", "is no range"),
        ("{a,a}", "stands for a file twice"),
        ("{0..100000}", "stands for 100,001 files"),
        ("{0..99999999999999999999}", "at most 100,000"),
        ("{0..999}{0..999}", "stands for 1,000,000 files"),
    ],
)
def test_other_braces_are_refused(spec: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        expand_braces(spec)
