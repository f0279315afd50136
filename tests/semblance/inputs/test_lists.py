"""Lists of pictures: text, CSV and standard input."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from semblance.errors import ImageError, InputError, SourceError
from semblance.inputs.decode import decode
from semblance.inputs.items import Column
from semblance.inputs.lists import read_csv, read_list, read_standard_input
from semblance.inputs.sources import open_source
from tests.semblance.inputs.packing import png


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- text


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_names_one_picture_on_each_line(tmp_path: Path, end: str) -> None:
    lines = ["# mine", "b.png", "", "  ", "a b.png", "./sub/c.png", "/abs/d.png", "./#e.png", "ü.png"]
    source = read_list(write(tmp_path / "mine.txt", "\ufeff" + end.join(lines)))
    assert [(item.uri, item.content, item.label) for item in source] == [
        ("b.png", tmp_path / "b.png", None),
        ("a b.png", tmp_path / "a b.png", None),
        ("sub/c.png", tmp_path / "sub/c.png", None),
        ("/abs/d.png", Path("/abs/d.png"), None),
        ("#e.png", tmp_path / "#e.png", None),
        ("ü.png", tmp_path / "ü.png", None),
    ]
    assert list(source) == list(source)
    assert (len(source), source.name) == (6, str(tmp_path / "mine.txt"))


def test_names_that_are_no_unicode_or_hold_line_ends_are_found(tmp_path: Path) -> None:
    (item,) = read_list(write(tmp_path / "mine.lst", b"caf\xe9.png\n"))
    assert (item.uri, str(item.content)) == (r"caf\xe9.png", f"{tmp_path}/caf\udce9.png")
    assert [item.uri for item in read_list(write(tmp_path / "mine.lst", "a\nb.png\0c.png\0"))] == ["a\nb.png", "c.png"]


def test_a_picture_that_is_not_there_fails_when_its_turn_comes(tmp_path: Path) -> None:
    write(tmp_path / "1.png", png(0))
    gone, there = open_source(write(tmp_path / "mine.txt", "gone.png\n1.png\n"))
    with pytest.raises(ImageError, match="no such file"):
        decode(gone.content, channels=1)
    assert decode(there.content, channels=1).shape == (6, 5, 1)


def test_paths_hold_when_the_working_directory_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mine.txt", "1.png")
    monkeypatch.chdir(tmp_path)
    source = open_source("mine.txt")
    monkeypatch.chdir("/")
    assert [item.content for item in source] == [tmp_path / "1.png"]


def test_lists_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"line 4 names a\.png again, after line 2"):
        read_list(write(tmp_path / "mine.txt", "\na.png\nb.png\n./a.png"))
    for content in ("", "\n\n", "# nothing"):
        with pytest.raises(SourceError, match="names no pictures"):
            read_list(write(tmp_path / "mine.txt", content))
    with pytest.raises(SourceError, match="nothing there"):
        read_list(tmp_path / "gone.txt")


def test_standard_input_is_read_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"./b.png\na.png\n")))
    monkeypatch.chdir(tmp_path)
    source = open_source("-")
    assert [(item.uri, item.content) for item in source] == [
        (f"{tmp_path}/b.png", tmp_path / "b.png"),
        (f"{tmp_path}/a.png", tmp_path / "a.png"),
    ]
    assert list(source) == list(source)
    assert source.name == "standard input"
    with pytest.raises(SourceError, match="standard input: names no pictures"):
        read_standard_input()


def test_labels_for_standard_input_may_be_by_the_same_relative_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "labels.csv", f"./b.png,x\n{tmp_path}/a.png,y\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"b.png\na.png\n")))
    monkeypatch.chdir(tmp_path)
    assert [item.label for item in open_source("-", labels="labels.csv")] == ["x", "y"]


# --- CSV


def test_the_columns_of_a_csv_are_carried_along(tmp_path: Path) -> None:
    source = read_csv(
        write(tmp_path / "mine.csv", 'n,Path,label,text,width\n1,a.png,x,"one, two",640\n,b.png,,007,480\n')
    )
    first, second = source
    assert (first.uri, first.content, first.label) == ("a.png", tmp_path / "a.png", "x")
    assert first.columns == {"n": 1, "text": "one, two", "source_width": 640}
    assert (second.uri, second.label) == ("b.png", None)
    assert second.columns == {"n": None, "text": "007", "source_width": 480}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-20", ""], [1, -20, None]),
        (["1", "2.5", "1e3"], [1.0, 2.5, 1000.0]),
        (["true", "false", ""], [True, False, None]),
        (["007", "1"], ["007", "1"]),
        (["1", "x"], ["1", "x"]),
        (["nan", "inf"], ["nan", "inf"]),
        (["9" * 18, "1"], [10**18 - 1, 1]),
        (["9" * 19, "1"], [1e19, 1.0]),
        (["", ""], [None, None]),
        (["True", "1"], ["True", "1"]),
    ],
)
def test_a_column_is_what_all_its_values_are(tmp_path: Path, values: list[str], expected: list[Column]) -> None:
    rows = "".join(f"{row}.png,{value}\n" for row, value in enumerate(values))
    found = [item.columns["value"] for item in read_csv(write(tmp_path / "mine.csv", f"path,value\n{rows}"))]
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_columns_can_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", "path,thumb,label,kind\na.png,s/a.png,1,cat\n")
    (item,) = open_source(path, image_column="thumb", label_column="kind")
    assert (item.uri, item.label, item.columns) == ("s/a.png", "cat", {"path": "a.png", "source_label": 1})
    for options in ({"image_column": "x"}, {"label_column": "x"}):
        with pytest.raises(InputError, match=r"no column 'x'; there are \['path', 'thumb', 'label', 'kind'\]"):
            open_source(path, **options)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", r"no column of paths among \[\]"),
        ("a,b\n1,2\n", r"no column of paths among \['a', 'b'\]"),
        ("path,path\n1,2\n", "a name of its own for each"),
        ("path,a\n1.png\n", "line 2 has 1 fields; expected 2"),
        ("path,a\n\n,1\n", "line 3 has nothing in column 'path'"),
        ('path,a\n"1.png,2\n', "is no CSV"),
        ("path\n", "names no pictures"),
        ("path\na.png\nb.png\na.png\n", r"line 4 names a\.png again, after line 2"),
    ],
)
def test_csv_files_that_cannot_be_meant_are_refused(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        read_csv(write(tmp_path / "mine.csv", content))
