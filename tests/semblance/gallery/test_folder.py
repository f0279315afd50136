"""What may become a gallery's folder, what is left of one that nothing was committed into, and errors with the path."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from semblance.errors import GalleryError
from semblance.gallery.folder import is_gallery, make_folder, remove_folder, writing


def names(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*"))


def test_folders_that_are_missing_are_made_and_named_from_the_inside(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "g"
    assert make_folder(path) == [path, tmp_path / "a" / "b", tmp_path / "a"]
    assert path.is_dir()
    assert make_folder(path) == []
    assert make_folder(tmp_path / "a" / "other") == [tmp_path / "a" / "other"]


LEFT_BY_A_KILL = [
    [], ["lock"], ["errors.parquet"], ["shards/"], ["shards/.000000.parquet.12.ab.part"], [".manifest.json.1.cd.part"],
    ["lock", "shards/", "errors.parquet", ".errors.parquet.9.ef.part"], ["shards/", "sift/"],
    ["shards/", "sift/.000000.parquet.12.ab.part"],
]  # fmt: skip
NOT_OURS = [
    ["mine.txt"], ["lock", "mine.txt"], ["shards/mine.parquet"], ["shards/000000.parquet"], [".hidden"], ["index/"],
    ["sift/mine.parquet"], ["sift/000000.parquet"], ["errors.parquet.bak"], ["lock.txt"], ["part"], [".part"],
]  # fmt: skip


def filled(path: Path, inside: list[str]) -> Path:
    path.mkdir()
    for name in inside:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).mkdir() if name.endswith("/") else (path / name).write_text("x")
    return path


@pytest.mark.parametrize("inside", LEFT_BY_A_KILL)
def test_an_empty_folder_and_a_killed_start_are_free(tmp_path: Path, inside: list[str]) -> None:
    path = filled(tmp_path / "g", inside)
    before = names(path)
    assert make_folder(path) == []
    assert names(path) == before
    remove_folder(path, [])
    assert (path.is_dir(), names(path)) == (True, [])


@pytest.mark.parametrize("inside", NOT_OURS)
def test_whatever_else_lies_there_is_in_the_way_and_stays(tmp_path: Path, inside: list[str]) -> None:
    path = filled(tmp_path / "g", inside)
    before = names(path)
    with pytest.raises(GalleryError, match="is in the way: it is no gallery and no empty folder; give another path"):
        make_folder(path)
    assert names(path) == before


def test_a_gallery_is_free_whatever_lies_beside_it(tmp_path: Path) -> None:
    path = filled(tmp_path / "g", ["manifest.json", "mine.txt"])
    assert is_gallery(path)
    assert make_folder(path) == []
    (tmp_path / "h" / "manifest.json").mkdir(parents=True)
    assert not is_gallery(tmp_path / "h")
    assert not is_gallery(tmp_path / "none")


def test_files_and_links_are_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "link").symlink_to(filled(tmp_path / "there", []))
    for name in ("file", "nowhere"):
        with pytest.raises(GalleryError, match=rf"{name} is in the way"):
            make_folder(tmp_path / name)
    assert make_folder(tmp_path / "link") == []
    for name in ("file/g", "nowhere/g", "x" * 300, "a\0b"):
        with pytest.raises((GalleryError, ValueError)):
            make_folder(tmp_path / name)


def test_what_was_made_is_taken_away_but_not_what_is_the_users(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "g"
    missing = make_folder(path)
    (path / "shards").mkdir()
    (path / "shards" / "000000.parquet").touch()
    (path / "manifest.json").touch()
    remove_folder(path, missing)
    assert names(tmp_path) == []
    missing = make_folder(path)
    (path / "lock").touch()
    (tmp_path / "a" / "mine.txt").touch()
    remove_folder(path, missing)
    assert names(tmp_path) == ["a", "a/mine.txt"]
    missing = make_folder(path)
    (path / "mine.txt").touch()
    remove_folder(path, missing)
    assert names(tmp_path / "a" / "b") == ["g", "g/mine.txt"]
    remove_folder(tmp_path / "never", [])


def test_errors_of_the_system_name_the_gallery_and_others_pass(tmp_path: Path) -> None:
    with pytest.raises(GalleryError) as caught, writing(tmp_path / "g"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == (
        f"{tmp_path / 'g'}: cannot be written ([Errno 28] No space left on device); give another path, or make room "
        "and run the same again: it carries on from what was committed"
    )
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(ZeroDivisionError), writing(tmp_path):
        raise ZeroDivisionError
    with pytest.raises(GalleryError, match=r"^mine$"), writing(tmp_path):
        raise GalleryError("mine")
    with writing(tmp_path):
        pass
