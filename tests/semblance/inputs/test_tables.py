"""Parquet: every form of pictures in it, labels, columns carried along, large row groups, and damage."""

from __future__ import annotations

import contextlib
import datetime
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from semblance.errors import InputError, SourceError
from semblance.inputs.items import Item
from semblance.inputs.sources import open_source
from semblance.inputs.tables import ParquetSource
from tests.semblance.inputs.packing import png

PICTURES = [png(number) for number in range(7)]


def write(path: Path, columns: dict[str, object], features: object = None, **options: object) -> Path:
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def source_of(*paths: Path, **options: str | None) -> ParquetSource:
    return ParquetSource(paths, root=paths[0].parent, name="some", **options)


def until_damage(path: Path) -> tuple[list[Item], str]:
    found = []
    try:
        for item in source_of(path):
            found.append(item)
    except SourceError as error:
        return found, str(error)
    return found, ""


# --- pictures and names


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_a_column_of_bytes_is_named_by_its_rows(tmp_path: Path, kind: pa.DataType) -> None:
    source = source_of(write(tmp_path / "a.parquet", {"x": pa.array(PICTURES, kind), "n": range(7)}, row_group_size=3))
    items = list(source)
    assert [item.uri for item in items] == [f"a.parquet#{row:06d}" for row in range(7)]
    assert [item.content for item in items] == PICTURES
    assert [item.columns for item in items] == [{"n": row} for row in range(7)]
    assert {item.label for item in items} == {None}
    assert items == list(source)
    assert len(source) == 7


def test_a_column_of_bytes_is_named_by_a_column_of_paths(tmp_path: Path) -> None:
    paths = ["b.png", "a.png", None, "b.png", "", "c.png", "ü.png"]
    items = list(source_of(write(tmp_path / "a.parquet", {"File_Name": paths, "bytes": PICTURES})))
    assert [item.uri for item in items] == [
        "b.png", "a.png", "a.parquet#000002", "b.png#000003", "a.parquet#000004", "c.png", "ü.png",
    ]  # fmt: skip
    assert [item.content for item in items] == PICTURES


def test_hugging_face_tables_are_read_with_their_class_names(tmp_path: Path) -> None:
    image = [{"bytes": PICTURES[0], "path": "a.png"}, {"bytes": PICTURES[1], "path": None}, None,
             {"bytes": None, "path": "on/disk.png"}, {"bytes": b"", "path": "e.png"}]  # fmt: skip
    features = {"image": {"_type": "Image"}, "mask": {"_type": "Value"}, "label": {"names": ["cat", "dog"],
                "_type": "ClassLabel"}, "fine": {"names": ["x", "y", "z"], "_type": "ClassLabel"}}  # fmt: skip
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {"image": pa.array(image, kind), "mask": PICTURES[:5], "label": [1, 0, 1, None, -1],
               "fine": [0, 1, 2, 9, None]}  # fmt: skip
    path = write(tmp_path / "a.parquet", columns, features)
    items = list(source_of(path))
    assert [item.uri for item in items] == ["a.png", "a.parquet#000001", "a.parquet#000002", "on/disk.png", "e.png"]
    assert [item.content for item in items] == [PICTURES[0], PICTURES[1], b"", tmp_path / "on/disk.png", b""]
    assert [item.label for item in items] == ["dog", "cat", "dog", None, None]
    assert [item.columns["fine"] for item in items] == ["x", "y", "z", None, None]
    fine = list(source_of(path, label_column="fine"))
    assert [item.label for item in fine] == ["x", "y", "z", None, None]
    assert [item.columns["source_label"] for item in fine] == ["dog", "cat", "dog", None, None]


def test_paths_count_from_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(PICTURES[0])
    items = list(
        source_of(write(tmp_path / "a.parquet", {"path": ["1.png", "gone.png", None], "label": ["x", "", None]}))
    )
    assert [(item.uri, item.content, item.label) for item in items] == [
        ("1.png", tmp_path / "1.png", "x"),
        ("gone.png", tmp_path / "gone.png", ""),
        ("a.parquet#000002", b"", None),
    ]


def test_scalar_columns_are_carried_along_and_others_left(tmp_path: Path) -> None:
    columns = {
        "image": PICTURES[:2],
        "whole": pa.array([1, None], pa.uint8()),
        "half": pa.array(np.array([0.5, 2], np.float16)),
        "truth": [True, None],
        "day": [datetime.date(2024, 2, 29), None],
        "time": pa.array([1, None], pa.timestamp("ns")),
        "price": [Decimal("1.50"), None],
        "word": pa.array(["a", None]).dictionary_encode(),
        "nothing": pa.nulls(2),
        "width": [640, 480],
        "vector": [[1.0], [2.0]],
    }
    first, second = source_of(write(tmp_path / "a.parquet", columns), image_column="image")
    assert first.columns == {
        "whole": 1, "half": 0.5, "truth": True, "day": "2024-02-29", "time": "1970-01-01 00:00:00.000000001",
        "price": "1.50", "word": "a", "nothing": None, "source_width": 640,
    }  # fmt: skip
    assert second.columns == {**dict.fromkeys(first.columns), "half": 2.0, "source_width": 480}


def test_text_that_is_no_unicode_is_escaped(tmp_path: Path) -> None:
    odd = pa.array([b"caf\xe9", b"x", None]).view(pa.string())
    columns = {"image": PICTURES[:3], "path": odd, "label": odd, "note": odd}
    items = list(source_of(write(tmp_path / "a.parquet", columns)))
    assert [item.uri for item in items] == [r"caf\xe9", "x", "a.parquet#000002"]
    assert [item.label for item in items] == [item.columns["note"] for item in items] == [r"caf\xe9", "x", None]


def test_several_files_are_one_source_in_order_of_their_names(tmp_path: Path) -> None:
    for name in ("d/c.parquet", "b.parquet", "a.parquet"):
        write(tmp_path / name, {"image": PICTURES[:2], "path": ["1.png", name]})
    source = open_source(tmp_path)
    assert [item.uri for item in source] == [
        "1.png", "a.parquet", "1.png#000002", "b.parquet", "1.png#000004", "d/c.parquet",
    ]  # fmt: skip
    write(tmp_path / "e.parquet", {"image": PICTURES[:2]})
    assert [item.uri for item in open_source(tmp_path / "e.parquet")] == ["e.parquet#000000", "e.parquet#000001"]
    write(tmp_path / "e.parquet", {"image": PICTURES[:2], "more": [1, 2]})
    with pytest.raises(SourceError, match=r"e\.parquet: columns \['more'\], in a\.parquet they are \[\]"):
        open_source(tmp_path)


def test_no_rows_are_fine(tmp_path: Path) -> None:
    source = source_of(write(tmp_path / "a.parquet", {"image": pa.array([], pa.binary())}))
    assert (list(source), len(source)) == ([], 0)


# --- what is refused


def test_columns_that_are_not_there_are_told_with_those_that_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"front": PICTURES, "back": PICTURES, "n": range(7), "v": [[1]] * 7})
    with pytest.raises(SourceError, match=r"columns \['front', 'back'\] all hold pictures"):
        source_of(path)
    assert [item.content for item in source_of(path, image_column="back")] == PICTURES
    for options, reason in (
        ({"image_column": "side"}, r"no column 'side'; there are \['front', 'back', 'n', 'v'\]"),
        ({"image_column": "n"}, "column 'n' is int64; expected bytes"),
        ({"image_column": "back", "label_column": "class"}, "no column 'class'"),
        ({"image_column": "back", "label_column": "v"}, "a label is one value"),
    ):
        with pytest.raises(InputError, match=reason):
            source_of(path, **options)
    with pytest.raises(SourceError, match=r"no column of pictures among \['n'\]"):
        source_of(write(tmp_path / "b.parquet", {"n": [1]}))


def test_what_is_no_parquet_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(SourceError, match="nothing there; expected a Parquet file"):
        source_of(path)
    whole = write(path, {"image": PICTURES}).read_bytes()
    for content in (b"", b"PAR1", b"no parquet" * 9, whole[:-1], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"a\.parquet: no Parquet file, or a damaged one"):
            source_of(path)


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_damage_is_told_after_the_rows_before_it(tmp_path: Path, compression: str) -> None:
    pictures = [np.random.default_rng(number).bytes(400) for number in range(200)]
    path = write(tmp_path / "a.parquet", {"image": pictures}, compression=compression, row_group_size=100,
                 use_dictionary=False, data_page_size=4000, write_batch_size=10, write_page_checksum=True,
                 write_statistics=False)  # fmt: skip
    whole = path.read_bytes()
    numbers = np.random.default_rng(0).integers(
        100, pq.read_metadata(path).row_group(1).column(0).total_compressed_size, 20
    )
    start = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    counts = []
    for number in numbers:
        at = start + int(number) - 100
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        items, error = until_damage(path)
        assert [item.content for item in items] == pictures[: len(items)]
        if len(items) < 200:
            assert f"a.parquet: damaged at row {len(items)}" in error
            assert "\n" not in error
            counts.append(len(items))
    assert len(counts) > 15  # a byte of a page's header may not matter
    assert min(counts) >= 100
    assert len(set(counts)) > 3


def test_any_damage_is_a_source_error_or_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"image": PICTURES, "label": list("abcdefg"), "n": range(7)})
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(SourceError, InputError):  # told at opening; of a column's name or type
            until_damage(path)


# --- streaming


def test_a_row_group_larger_than_a_batch_is_never_held_whole(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).bytes(1 << 17)
    path = tmp_path / "a.parquet"
    with pq.ParquetWriter(path, pa.schema({"image": pa.binary(), "other": pa.binary()}), use_dictionary=False,
                          compression="none", write_batch_size=16) as writer:  # fmt: skip
        writer.write_table(pa.table({"image": [picture] * 800, "other": [picture] * 800}), row_group_size=800)
    assert pq.read_metadata(path).num_row_groups == 1
    before = pa.total_allocated_bytes()
    most = 0
    for item in source_of(path, image_column="image"):
        assert len(item.content) == 1 << 17
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 64 << 20  # of 200 MB
