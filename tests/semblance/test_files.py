"""Files are whole or not there."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from semblance.files import sha256_of, write_aside, write_whole


def test_content_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "name.bin"
    for content in (b"first", b"", b"third"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_as_readable_as_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_whole(tmp_path / "whole", b"")
    assert stat.S_IMODE((tmp_path / "whole").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", b"content")
    assert [found.name for found in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "file", b"content")


def test_content_size_and_checksum(tmp_path: Path) -> None:
    written = write_aside(tmp_path / "a", lambda path: path.write_bytes(b"new") and None)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (written.num_bytes, written.sha256) == (3, hashlib.sha256(b"new").hexdigest())
    assert sha256_of(tmp_path / "a") == written.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_aside(tmp_path / "a", fail)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_open_file_keeps_its_old_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with (tmp_path / "a").open("rb") as reader:
        write_aside(tmp_path / "a", lambda path: path.write_bytes(b"new") and None)
        assert reader.read() == b"old"
