"""Tar archives: all formats, one pass, odd members, and damage that is noticed wherever it is."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semblance.errors import SourceError
from semblance.inputs import archives
from semblance.inputs.archives import TarSource, read_members
from semblance.inputs.items import IMAGE_SUFFIXES, Item, num_items
from tests.semblance.inputs.packing import png, write_tar

MEMBERS = [("cats/2.png", png(0)), ("cats/1.png", png(1)), ("dogs/1.JPG", b"x" * 1024), ("top.webp", b"y" * 1500)]
FORMATS = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)


def facts(source: TarSource) -> list[tuple[str, object, str | None]]:
    return [(item.uri, item.content, item.label) for item in source]


def until_damage(path: Path) -> tuple[list[tuple[str, bytes]], str]:
    """What comes, and the error after it ("" for none)."""
    found = []
    try:
        for member in read_members(path, IMAGE_SUFFIXES):
            found.append(member)
    except SourceError as error:
        return found, str(error)
    return found, ""


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_kind_of_tar_is_read_in_its_own_order(tmp_path: Path, mode: str, kind: int) -> None:
    source = TarSource(write_tar(tmp_path / "some.tar", MEMBERS, mode=mode, kind=kind))  # whatever its suffix says
    labels = ["cats", "cats", "dogs", None]
    expected = [(name, content, label) for (name, content), label in zip(MEMBERS, labels, strict=True)]
    assert facts(source) == expected == facts(source)
    assert num_items(source) is None
    assert source.name == str(tmp_path / "some.tar")


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_foreign_names_are_kept(tmp_path: Path, kind: int) -> None:
    names = ["long/" * 60 + "name.png", "Käfer/日本.png", "caf\udce9/1.png", "./here/1.png"]
    source = TarSource(write_tar(tmp_path / "a.tar", [(name, b"x") for name in names], kind=kind))
    assert [item.uri for item in source] == [names[0], names[1], r"caf\xe9/1.png", "here/1.png"]
    assert [item.label for item in source] == ["long", "Käfer", r"caf\xe9", "here"]


def test_odd_members_are_only_names(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    odd = [("/etc/1.png", b"a"), ("../up/2.png", b"b"), (".hidden/3.png", b"c"), ("a/._4.png", b"d"), ("n.md", b"e")]
    write_tar(path, odd)
    with tarfile.open(path, "a") as tar:
        for name, type_ in (("soft.png", tarfile.SYMTYPE), ("hard.png", tarfile.LNKTYPE), ("dev.png", tarfile.CHRTYPE),
                            ("pipe.png", tarfile.FIFOTYPE), ("folder.png", tarfile.DIRTYPE)):  # fmt: skip
            header = tarfile.TarInfo(name)
            header.type, header.linkname = type_, "/etc/1.png"
            tar.addfile(header)
        tar.addfile(tarfile.TarInfo("empty.png"))
    assert facts(TarSource(path)) == [
        ("/etc/1.png", b"a", "etc"),
        ("../up/2.png", b"b", "up"),
        ("soft.png", b"", None),
        ("hard.png", b"", None),
        ("empty.png", b"", None),
    ]
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.tar"]


def test_a_path_that_comes_again_gets_a_name_of_its_own(tmp_path: Path) -> None:
    members = [("a.png", b"1"), ("b.png", b"2"), ("a.png", b"3"), ("a.png#000002", b""), ("./a.png", b"4")]
    source = TarSource(write_tar(tmp_path / "a.tar", members))
    assert [(item.uri, item.content) for item in source] == [
        ("a.png", b"1"), ("b.png", b"2"), ("a.png#000002", b"3"), ("a.png#000003", b"4"),
    ]  # fmt: skip


def test_a_sparse_member_is_read_with_its_holes(tmp_path: Path) -> None:
    # GNU's old form: 1,536 bytes, of which 512 at 512 are stored
    header = tarfile.TarInfo("sparse.png")
    header.size = 512
    raw = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    raw[156:157] = tarfile.GNUTYPE_SPARSE
    raw[386:410] = b"%011o\0%011o\0" % (512, 512)
    raw[410:434] = b"%011o\0%011o\0" % (1536, 0)
    raw[483:495] = b"%011o\0" % 1536
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + 8 * 32 + sum(raw[156:512]))
    after = tarfile.TarInfo("z.png").tobuf()
    (tmp_path / "a.tar").write_bytes(bytes(raw) + b"\x07" * 512 + after + bytes(1024))
    members = dict(read_members(tmp_path / "a.tar", IMAGE_SUFFIXES))
    assert members == {"sparse.png": bytes(512) + b"\x07" * 512 + bytes(512), "z.png": b""}


def test_a_member_larger_than_any_picture_is_cut_where_the_decoder_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_MAX_MEMBER_BYTES", 1000)
    path = write_tar(tmp_path / "a.tar", [("a.png", b"x" * 5000), ("b.png", b"y" * 1000)])
    assert [(name, len(content)) for name, content in read_members(path, IMAGE_SUFFIXES)] == [
        ("a.png", 1001), ("b.png", 1000),
    ]  # fmt: skip


# --- damage


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_cut_anywhere_gives_what_was_whole_and_says_so(tmp_path: Path, mode: str) -> None:
    whole = write_tar(tmp_path / "whole.tar", MEMBERS, mode=mode).read_bytes()
    content = gzip.decompress(whole) if mode == "w:gz" else whole
    end = len(content.rstrip(b"\0")) if mode in ("w", "w:gz") else 0
    cut = tmp_path / "cut.tar"
    cuts = [1, 100, *range(0, len(whole), 512), len(whole) - 1, *np.random.default_rng(0).integers(1, len(whole), 60)]
    for length in sorted({int(length) for length in cuts if length < len(whole)}):
        cut.write_bytes(whole[:length])
        found, error = until_damage(cut)
        assert found == MEMBERS[: len(found)]
        if mode == "w" and length >= -(-end // 512) * 512 + 1024:
            assert (found, error) == (MEMBERS, "")  # only padding is missing
        else:
            assert "cut.tar: damaged or cut short after byte" in error, length
            assert "copy it or pack it again" in error


def test_a_cut_between_two_members_is_no_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", MEMBERS[:2], kind=tarfile.USTAR_FORMAT)
    whole = path.read_bytes()
    border = 512 + -(-len(MEMBERS[0][1]) // 512) * 512
    for num_zero_blocks in (0, 1):
        path.write_bytes(whole[:border] + bytes(512 * num_zero_blocks))
        found, error = until_damage(path)
        assert found == MEMBERS[:1]
        assert "damaged or cut short" in error
    path.write_bytes(whole[:border] + bytes(1024))
    assert until_damage(path) == (MEMBERS[:1], "")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_header_is_no_end(tmp_path: Path, kind: int) -> None:
    path = write_tar(tmp_path / "a.tar", MEMBERS, kind=kind)
    whole = bytearray(path.read_bytes())
    third = whole.index(b"dogs/1.JPG")
    for damage in (b"\xff" * 8, bytes(512), bytes(1024)):
        path.write_bytes(whole[:third] + damage + whole[third + len(damage) :])
        found, error = until_damage(path)
        assert found == MEMBERS[:2]
        assert "damaged or cut short" in error
        assert "cats/1.png" in error


def test_two_archives_in_one_file_are_told_apart(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", MEMBERS)
    path.write_bytes(path.read_bytes() * 2)
    found, error = until_damage(path)
    assert found == MEMBERS
    assert "more follows the mark of its end" in error


def test_the_checksum_at_the_end_of_a_compressed_file_is_checked(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar.gz", MEMBERS, mode="w:gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    found, error = until_damage(path)
    assert found == MEMBERS
    assert "CRC" in error


@pytest.mark.parametrize("content", [b"", b"no tar", b"no tar" * 1000, b"\x1f\x8bno gzip", b"BZh", bytes(100)])
def test_what_is_no_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.tar: damaged or cut short after byte 0"):
        list(TarSource(tmp_path / "a.tar"))
    with pytest.raises(SourceError, match="nothing there"):
        TarSource(tmp_path / "gone.tar")


def test_headers_that_lie_about_sizes_take_no_memory_and_end(tmp_path: Path) -> None:
    header = tarfile.TarInfo("a.png")
    for size, type_ in ((1 << 60, tarfile.REGTYPE), (1 << 60, tarfile.XHDTYPE), (1 << 60, tarfile.GNUTYPE_LONGNAME)):
        header.size, header.type = size, type_
        (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
        found, error = until_damage(tmp_path / "a.tar")
        assert (found, "damaged" in error) == ([], True)
    negative = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.GNU_FORMAT))
    negative[124:136] = b"\xff" * 12  # -1, which would lead back to where it stands
    negative[148:156] = b"%06o\0 " % (sum(negative[:148]) + 8 * 32 + sum(negative[156:]))
    (tmp_path / "a.tar").write_bytes(bytes(negative) + bytes(1024))
    assert "-1 bytes" in until_damage(tmp_path / "a.tar")[1]
    pax = tarfile.TarInfo("a.png")
    pax.pax_headers = {"size": "-1024"}
    (tmp_path / "a.tar").write_bytes(pax.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    assert "damaged" in until_damage(tmp_path / "a.tar")[1]


def test_endless_headers_of_headers_are_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type = tarfile.XHDTYPE
    (tmp_path / "a.tar").write_bytes(header.tobuf() * 5000)
    assert "damaged" in until_damage(tmp_path / "a.tar")[1]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 8191), st.integers(0, 255)), min_size=1, max_size=20), st.sampled_from(FORMATS)
)
def test_no_damage_raises_anything_else(tmp_path: Path, changes: list[tuple[int, int]], kind: int) -> None:
    names = ["a/1.png", "ü" * 120 + ".png"] if kind != tarfile.USTAR_FORMAT else ["a/1.png", "b/2.png"]
    whole = bytearray(write_tar(tmp_path / "a.tar", [(name, b"x" * 700) for name in names], kind=kind).read_bytes())
    for at, value in changes:
        whole[at % len(whole)] = value
    (tmp_path / "a.tar").write_bytes(whole)
    until_damage(tmp_path / "a.tar")
    until_source_ends(tmp_path / "a.tar")


def until_source_ends(path: Path) -> list[Item]:
    found = []
    try:
        for item in TarSource(path):
            found.append(item)
    except SourceError:
        pass
    assert len({item.uri for item in found}) == len(found)
    return found


# --- streaming


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_only_one_member_is_held_at_a_time(tmp_path: Path, mode: str) -> None:
    content = bytes(1 << 20)
    path = write_tar(tmp_path / "a.tar", [(f"{number}.png", content) for number in range(40)], mode=mode)
    tracemalloc.start()
    try:
        assert sum(1 for _ in TarSource(path)) == 40
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_nothing_is_read_before_its_turn(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", MEMBERS * 400, kind=tarfile.USTAR_FORMAT).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: len(whole) // 2])
    items = iter(TarSource(tmp_path / "a.tar"))
    assert next(items).uri == "cats/2.png"


def test_the_photographs_come_as_they_are_in_the_tar(caltech_dir: Path) -> None:
    path = caltech_dir / "caltech101-45.tar"
    items = list(TarSource(path))
    assert len(items) == 4370
    assert len({item.label for item in items}) == 101
    assert items[0].label == items[0].uri.split("/")[1]
    with tarfile.open(path) as tar:
        for item in items[::437]:
            file = tar.extractfile(item.uri)
            assert isinstance(file, io.BufferedReader)
            assert file.read() == item.content
