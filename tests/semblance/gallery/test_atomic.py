"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from semblance.gallery.atomic import sha256_of, write_aside


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
