"""Labels from a file of their own."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from semblance.errors import SourceError
from semblance.inputs.arrays import ArraySource
from semblance.inputs.items import num_items
from semblance.inputs.labels import LabelledSource, read_labels

SOURCE = ArraySource(np.zeros((3, 2, 2), np.uint8), labels="abc", name="s")


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("uri,label\na,x\nb,\n", {"a": "x", "b": None}),
        ("a,x\nb,y\n", {"a": "x", "b": "y"}),
        ('id,label,uri\n1,"x, y",a\n\n2,y,b\n', {"a": "x, y", "b": "y"}),
        ("a,x\na,x\n", {"a": "x"}),
        ("\ufeffüri,x\r\n", {"üri": "x"}),
        ("uri,label\n", {}),
        ("", {}),
    ],
)
def test_labels_are_read_with_and_without_a_header(tmp_path: Path, content: str, labels: dict[str, str | None]) -> None:
    (tmp_path / "labels.csv").write_text(content, encoding="utf-8")
    assert read_labels(tmp_path / "labels.csv") == labels


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a,x\nb,y\na,z\n", "line 3 labels a 'z', an earlier one 'x'"),
        ("a,b,c\n", "a line with 3 fields"),
        ("a\n", "a line with 1 fields"),
        ("uri,label,n\na,x\n", "a line with 2 fields"),
        ('a,"x\n', "is no CSV"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(SourceError, match=reason):
        read_labels(tmp_path / "labels.csv")
    with pytest.raises(SourceError, match="nothing there"):
        read_labels(tmp_path / "gone.csv")


def test_only_what_the_file_says_is_a_label(caplog: pytest.LogCaptureFixture) -> None:
    source = LabelledSource(SOURCE, {"s#000001": "x", "s#000002": None})
    with caplog.at_level(logging.WARNING):
        assert [item.label for item in source] == [None, "x", None]
    assert caplog.text == ""
    assert [item.uri for item in source] == [item.uri for item in SOURCE]
    assert (num_items(source), source.name) == (3, "s")


def test_labels_for_no_item_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert [item.label for item in LabelledSource(SOURCE, {"s#000001": "x", "t": "y"})] == [None, "x", None]
    assert "1 of 2 labels are for no item of s" in caplog.text
