"""Every kind of place is known by its name, and what is none is told what would be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from semblance.errors import InputError, SourceError
from semblance.inputs.archives import TarSource
from semblance.inputs.sources import FolderSource, IdxSource, NpySource, num_items, open_source
from tests.semblance.inputs.packing import PIXELS, png, uris, write_idx, write_images, write_tar


def test_open_source_knows_each_kind(tmp_path: Path) -> None:
    write_images(tmp_path, "photos/1.png")
    np.save(tmp_path / "mine.npy", PIXELS)
    idx_path = write_idx(tmp_path / "some.idx", PIXELS)
    assert isinstance(open_source(str(tmp_path / "photos")), FolderSource)
    assert isinstance(open_source(tmp_path / "mine.npy"), NpySource)
    assert isinstance(open_source(idx_path), IdxSource)
    single = open_source(tmp_path / "photos" / "1.png")
    assert uris(single) == [(tmp_path / "photos" / "1.png").as_posix()]


def test_an_empty_name_is_not_the_current_folder() -> None:
    with pytest.raises(SourceError, match="empty name"):
        open_source("")


def test_names_of_places_hold_from_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, "photos/1.png")
    np.save(tmp_path / "mine.npy", PIXELS)
    write_idx(tmp_path / "some.idx", PIXELS)
    monkeypatch.chdir(tmp_path)
    names = {spec: open_source(spec).name for spec in ("photos", "mine.npy", "some.idx", "photos/1.png")}
    monkeypatch.chdir("/")
    for spec, name in names.items():
        assert name == str(tmp_path / spec)
        assert len(open_source(name)) > 0


def test_a_place_has_one_name_whichever_way_leads_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, "photos/1.png")
    np.save(tmp_path / "mine.npy", PIXELS)
    write_idx(tmp_path / "some.idx", PIXELS)
    for name in "ab":
        write_tar(tmp_path / f"{name}.tar", [("1.png", png(0))])
    pq.write_table(pa.table({"path": ["photos/1.png"]}), tmp_path / "a.parquet")
    (tmp_path / "mine.txt").write_text("photos/1.png")
    (tmp_path / "mine.csv").write_text("path\nphotos/1.png\n")
    monkeypatch.chdir(tmp_path)
    places = ["mine.npy", "some.idx", "a.tar", "a.parquet", "mine.txt", "mine.csv", "photos", "photos/1.png"]
    for place in [*places, "{a,b}.tar"]:
        assert open_source(f"photos/../{place}").name == str(tmp_path / place)
    assert uris(open_source("photos/../photos/1.png")) == [f"{tmp_path}/photos/1.png"]


def test_what_is_no_source_is_told_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("no picture")
    for path in (tmp_path / "gone", tmp_path / "notes.md", tmp_path / "gone.npy", tmp_path / "gone.txt"):
        with pytest.raises(SourceError, match=r"expected a folder of images, .*\.npy file"):
            open_source(path)


# --- several files


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".TAR"])
def test_a_tar_is_opened_by_its_suffix(tmp_path: Path, suffix: str) -> None:
    source = open_source(write_tar(tmp_path / f"a{suffix}", [("x/1.png", png(0))]))
    assert isinstance(source, TarSource)
    assert [(item.uri, item.label) for item in source] == [("x/1.png", "x")]


def test_shards_are_one_source_named_by_folder_or_by_braces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (2, 0, 10, 1):
        members = [("b.png", png(number)), ("b.cls", str(number).encode()), ("a.png", b"")]
        write_tar(tmp_path / f"s-{number:02d}.tar", members)
    expected = [f"s-{number:02d}.tar/{name}.png" for number in (0, 1, 2, 10) for name in "ba"]
    folder = open_source(tmp_path)
    assert uris(folder) == expected == uris(folder)
    assert [item.label for item in folder] == ["0", None, "1", None, "2", None, "10", None]
    assert num_items(folder) is None
    assert uris(open_source(f"{tmp_path}/s-{{00..02}}.tar")) == expected[:6]
    monkeypatch.chdir(tmp_path)
    by_braces = open_source("s-{10,00}.tar")
    assert uris(by_braces) == expected[6:] + expected[:2]
    monkeypatch.chdir("/")
    assert uris(open_source(by_braces.name)) == uris(by_braces)
    with pytest.raises(SourceError, match=r"7 of its 11 files are missing, such as .*s-03\.tar"):
        open_source(f"{tmp_path}/s-{{00..10}}.tar")


def test_braces_may_stand_for_folders_and_for_tables(tmp_path: Path) -> None:
    for part in ("test", "train"):
        (tmp_path / part).mkdir()
        pq.write_table(pa.table({"image": [png(0), png(1)]}), tmp_path / part / "a.parquet")
    assert uris(open_source(f"{tmp_path}/{{train,test}}/a.parquet")) == [
        "train/a.parquet#000000", "train/a.parquet#000001", "test/a.parquet#000000", "test/a.parquet#000001",
    ]  # fmt: skip


def test_a_name_that_has_braces_itself_is_that_file(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a{0..1}.tar", [("1.png", png(0))])
    assert uris(open_source(path)) == ["1.png"]


def test_a_folder_is_of_one_kind(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("1.png", png(0))])
    pq.write_table(pa.table({"image": [png(0)]}), tmp_path / "b.parquet")
    with pytest.raises(SourceError, match=r"tar archives as well as Parquet files, a\.tar and b\.parquet"):
        open_source(tmp_path)
    write_images(tmp_path, "c.png")
    assert uris(open_source(tmp_path)) == ["c.png"]


def test_an_archive_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="an archive without images"):
        open_source(write_tar(tmp_path / "a.tar", [("notes.md", b"x")]))


# --- labels and columns


def test_labels_come_from_where_they_are_asked_for(tmp_path: Path) -> None:
    write_images(tmp_path, "x/1.png", "y/2.png")
    (tmp_path / "labels.csv").write_text("uri,label\ny/2.png,cat\n")
    source = open_source(tmp_path, labels=tmp_path / "labels.csv")
    assert [(item.uri, item.label) for item in source] == [("x/1.png", None), ("y/2.png", "cat")]
    assert num_items(source) == 2
    tar = write_tar(tmp_path / "a.tar", [("1.png", b"x"), ("1.json", b'{"kind": 4}')])
    assert [item.label for item in open_source(tar, label_column="kind")] == ["4"]
    with pytest.raises(InputError, match="not in both"):
        open_source(tar, label_column="kind", labels=tmp_path / "labels.csv")
    with pytest.raises(InputError, match=r"1\.png: its \.json has no field 'sort'; there are \['kind'\]"):
        open_source(tar, label_column="sort")


def test_options_that_a_source_has_no_use_for_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path, "x/1.png")
    tar = write_tar(tmp_path / "a.tar", [("1.png", b"x")])
    (tmp_path / "a.txt").write_text("x/1.png")
    for spec, option in ((tmp_path, "label_column"), (tmp_path / "a.txt", "label_column"), (tar, "image_column"),
                         (tmp_path / "x/1.png", "image_column"), ("-", "label_column")):  # fmt: skip
        with pytest.raises(InputError, match=f"no columns for {option}='n'"):
            open_source(spec, **{option: "n"})


def test_pyarrow_is_imported_for_parquet_only() -> None:
    code = "import sys, semblance.inputs.sources; print('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
