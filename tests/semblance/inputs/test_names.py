"""Names: valid, unique, and free in a gallery."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semblance.gallery import shards
from semblance.inputs import names
from semblance.inputs.names import GALLERY_COLUMNS, UniqueNames, carried, folder_label, place_of, uri_of, valid_unicode


@given(st.text(st.characters()))
def test_every_text_becomes_one_that_utf_8_holds(text: str) -> None:
    valid = valid_unicode(text)
    assert valid.encode("utf-8").decode("utf-8") == valid
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert valid == text


def test_bytes_that_are_no_unicode_are_escaped() -> None:
    assert valid_unicode("caf\udce9") == r"caf\xe9"
    assert valid_unicode("\ud83d!") == r"\ud83d!"
    assert uri_of(Path("a", "b\udcff.png")) == r"a/b\xff.png"


@pytest.mark.parametrize(
    ("uri", "label"),
    [("a/b.png", "a"), ("x/a/b.png", "a"), ("b.png", None), ("/b.png", None), ("../b.png", None), ("a/./b.png", "a"),
     ("a//b.png", "a"), ("", None), ("/etc/b.png", "etc")],
)  # fmt: skip
def test_a_label_is_the_name_of_the_folder(uri: str, label: str | None) -> None:
    assert folder_label(uri) == label


def test_a_place_has_one_name_but_where_a_link_leads_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    monkeypatch.chdir(tmp_path)
    for path in ("a", "./a/", "a/../a", "a/b/..", Path("a"), "gone/../a"):
        assert place_of(path) == f"{tmp_path}/a"
    assert place_of("x-{0..2}.tar") == f"{tmp_path}/x-{{0..2}}.tar"
    assert place_of("link/../b") == f"{tmp_path}/link/../b"  # a/b, and not b
    assert place_of("link/c") == f"{tmp_path}/link/c"


def test_a_gallerys_own_columns_are_the_ones_that_are_renamed() -> None:
    assert set(GALLERY_COLUMNS) == {*shards._FIXED, shards.EMBEDDING}
    assert carried({"width": 1, "n": 2}) == {"source_width": 1, "n": 2}
    assert carried({"width": 1, "source_width": 2}) == {"source_source_width": 1, "source_width": 2}
    shards.column_types([carried(dict.fromkeys(GALLERY_COLUMNS, 1))])  # which it refuses under their own names


@given(st.lists(st.sampled_from(["a", "b", "a#000001", "a#000002", ""])))
def test_names_are_unique_and_kept_where_they_can_be(uris: list[str]) -> None:
    unique = UniqueNames()
    given_names = [unique.name(uri) for uri in uris]
    assert len(set(given_names)) == len(uris)
    for row, (uri, name) in enumerate(zip(uris, given_names, strict=True)):
        assert name == uri or (name.startswith(f"{uri}#{row:06d}") and uri in given_names[:row])


def test_names_are_remembered_through_runs_of_every_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_RECENT", 4)
    unique = UniqueNames()
    assert [unique.name(str(number)) for number in range(50)] == [str(number) for number in range(50)]
    assert [unique.name(str(number)) for number in range(50)] == [f"{number}#{50 + number:06d}" for number in range(50)]
    lengths = [len(run) for run in unique._runs]
    assert lengths == sorted(lengths, reverse=True)
    assert sum(lengths) == 100
    assert len(lengths) <= 5
