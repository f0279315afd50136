"""A gallery's own pictures as a source: every one that counts, once, under what the gallery knows of it."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from semblance.errors import GalleryError, SourceError
from semblance.gallery.build import add, build
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.shards import Row, read_columns
from semblance.gallery.source import GallerySource
from semblance.gallery.upkeep import compact, remove
from semblance.gallery.writer import GalleryWriter
from semblance.inputs.files import FolderSource
from semblance.inputs.sources import open_source


def fill(folder: Path, names: list[str], seed: int = 0) -> Path:
    for name, image in zip(names, np.random.default_rng(seed).integers(1, 256, (len(names), 8, 8)), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), image.astype(np.uint8))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "pictures", ["ant/1.png", "ant/2.png", "bee/1.png", "bee/2.png", "bee/3.png"])


def read(source: GallerySource) -> list[tuple[str, object, str | None]]:
    items = [(item.uri, item.content, item.label) for item in source]
    assert len(items) == len(source)
    assert len({uri for uri, _, _ in items}) == len(items)
    return items


def test_pictures_and_labels_are_those_of_the_gallery(tmp_path: Path, folder: Path, encoder) -> None:
    build(FolderSource(folder), encoder, tmp_path / "g")
    source = GallerySource(tmp_path / "g")
    assert source.name == str(tmp_path / "g")
    names = ["ant/1.png", "ant/2.png", "bee/1.png", "bee/2.png", "bee/3.png"]
    assert read(source) == [(name, folder / name, name[:3]) for name in names]
    assert read(source) == read(source)
    build(source, encoder, tmp_path / "again")
    one, other = VectorGallery.open(tmp_path / "g"), VectorGallery.open(tmp_path / "again")
    np.testing.assert_array_equal(one.vectors, other.vectors)
    assert (one.uris, one.labels) == (other.uris, other.labels)


def test_columns_go_with_the_pictures(tmp_path: Path, encoder) -> None:
    fill(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "list.csv").write_text("path,label,year\na.png,x,2001\nb.png,,2002\nc.png,z,\n")
    build(open_source(tmp_path / "list.csv"), encoder, tmp_path / "g")
    stored = VectorGallery.open(tmp_path / "g").all_rows.columns(["label", "year"]).to_pylist()
    assert [{"label": item.label, **item.columns} for item in GallerySource(tmp_path / "g")] == stored
    assert len(stored) == 3


def test_what_was_removed_and_what_came_later_is_left_out(tmp_path: Path, folder: Path, encoder) -> None:
    build(FolderSource(folder), encoder, tmp_path / "g")
    remove(tmp_path / "g", uris=["ant/2.png", "bee/3.png"])
    fill(folder, ["ant/9.png"], seed=1)
    expected = [(name, folder / name, name[:3]) for name in ["ant/1.png", "bee/1.png", "bee/2.png"]]
    assert read(GallerySource(tmp_path / "g")) == expected
    compact(tmp_path / "g", threads=1)
    assert read(GallerySource(tmp_path / "g")) == expected
    remove(tmp_path / "g", where="true")
    assert read(GallerySource(tmp_path / "g")) == []


def test_a_picture_that_is_gone_becomes_an_error_row_and_no_silent_gap(tmp_path: Path, folder: Path, encoder) -> None:
    build(FolderSource(folder), encoder, tmp_path / "g")
    (folder / "bee" / "1.png").unlink()
    names = ["ant/1.png", "ant/2.png", "bee/2.png", "bee/3.png", "bee/1.png"]
    assert read(GallerySource(tmp_path / "g")) == [(name, folder / name, name[:3]) for name in names]
    report = build(GallerySource(tmp_path / "g"), encoder, tmp_path / "again")
    assert (report.num_images, report.num_errors) == (4, 1)
    (error,) = read_columns(tmp_path / "again" / "errors.parquet", ["uri", "stage"]).to_pylist()
    assert error == {"uri": "bee/1.png", "stage": "read"}


def test_of_two_sources_each_picture_is_named_with_its_own(tmp_path: Path, folder: Path, encoder) -> None:
    other = fill(tmp_path / "other", ["ant/1.png"], seed=2)
    build(FolderSource(folder), encoder, tmp_path / "g")
    add(FolderSource(other), encoder, tmp_path / "g")
    found = read(GallerySource(tmp_path / "g"))
    assert found[0] == (f"{folder}/ant/1.png", folder / "ant/1.png", "ant")
    assert found[5] == (f"{other}/ant/1.png", other / "ant/1.png", "ant")
    add(FolderSource(folder), encoder, tmp_path / "g")  # looked through again
    assert len(read(GallerySource(tmp_path / "g"))) == 6


def test_rows_that_came_from_no_source_are_no_silent_gap_either(tmp_path: Path, folder: Path, encoder) -> None:
    """Ones that a program put in by itself: the place that their uri names is all that is known of them."""
    build(FolderSource(folder), encoder, tmp_path / "g")
    mine = [("mine.png", 100), ("ant/1.png", -3), ("ant/1.png", 1), (str(fill(tmp_path, ["here.png"]) / "here.png"), 7)]
    with GalleryWriter.open(tmp_path / "g") as writer:
        rows = [Row(key, uri, "0" * 64, 8, 8, "mine") for uri, key in mine]
        writer.upsert(rows, np.ones((4, 16), np.float32))
    found = read(GallerySource(tmp_path / "g"))
    names = ["ant/1.png", "bee/1.png", "bee/2.png", "bee/3.png", "ant/1.png#000004"]
    assert [uri for uri, _, _ in found] == [*names, "mine.png", "ant/1.png#000006", str(tmp_path / "here.png")]
    assert [label for _, _, label in found] == ["ant", "bee", "bee", "bee", "mine", "mine", "mine", "mine"]
    report = build(GallerySource(tmp_path / "g"), encoder, tmp_path / "again")
    assert (report.num_images, report.num_errors) == (6, 2)


def test_the_column_that_was_embedded_is_embedded_again(tmp_path: Path, encoder) -> None:
    fill(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    csv = tmp_path / "pairs.csv"
    csv.write_text("path,back,kind\na.png,b.png,x\nc.png,d.png,y\n")
    build(open_source(csv, image_column="back", label_column="kind"), encoder, tmp_path / "g")
    assert read(GallerySource(tmp_path / "g")) == [
        ("b.png", tmp_path / "b.png", "x"),
        ("d.png", tmp_path / "d.png", "y"),
    ]
    csv.write_text("path\na.png\n")
    with pytest.raises(SourceError, match=r"no column 'back'.*the gallery's pictures came from there"):
        list(GallerySource(tmp_path / "g"))


def test_pictures_of_lists_from_standard_input_are_found_by_their_paths(
    tmp_path: Path, folder: Path, encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = fill(tmp_path / "other", ["ant/1.png"], seed=2)
    lists = [(folder, b"ant/1.png\nbee/2.png"), (other, b"ant/1.png"), (folder, b"./ant/1.png\nbee/1.png")]
    for number, (place, listed) in enumerate(lists):
        monkeypatch.chdir(place)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed)))
        if number:
            add(open_source("-"), encoder, tmp_path / "g")
        else:
            build(open_source("-"), encoder, tmp_path / "g")
    paths = [folder / "ant/1.png", folder / "bee/2.png", other / "ant/1.png", folder / "bee/1.png"]
    assert VectorGallery.open(tmp_path / "g").uris == [str(path) for path in paths]
    assert read(GallerySource(tmp_path / "g")) == [(str(path), path, None) for path in paths]
    assert build(GallerySource(tmp_path / "g"), encoder, tmp_path / "again").num_images == 4


def test_a_gallery_has_one_name(tmp_path: Path, folder: Path, encoder) -> None:
    build(FolderSource(folder), encoder, tmp_path / "g")
    assert GallerySource(tmp_path / "pictures" / ".." / "g").name == str(tmp_path / "g")


def test_places_that_are_gone_are_named(tmp_path: Path, folder: Path, encoder) -> None:
    build(FolderSource(folder), encoder, tmp_path / "g")
    shutil.rmtree(folder)
    with pytest.raises(SourceError, match=rf"{folder}.*; the gallery's pictures came from there, put them back first"):
        list(GallerySource(tmp_path / "g"))
    with pytest.raises(GalleryError, match="no gallery"):
        GallerySource(tmp_path / "none")
