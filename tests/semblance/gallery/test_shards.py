"""Rows to Parquet and back, the same to the byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from semblance.errors import GalleryError
from semblance.gallery.mapped import MappedTable
from semblance.gallery.shards import (
    ErrorRow,
    Row,
    column_types,
    committed_errors,
    misfit,
    read_columns,
    vector_problem,
    write_errors,
    write_rows,
    write_shard,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shards").mkdir()
    return tmp_path


def rows(num: int) -> list[Row]:
    return [
        Row(i + 7, f"a/{i}.jpg", f"{i:064x}", 30 + i, 20, None if i % 2 else "cat", {"year": i, "title": "é"})
        for i in range(num)
    ]


def vectors(num: int) -> NDArray[np.float32]:
    return np.random.default_rng(num).standard_normal((num, 5), dtype=np.float32)


COLUMNS = {"title": "string", "year": "int64"}


@pytest.mark.parametrize("num", [0, 1, 3, 300])
@pytest.mark.parametrize("vector_type", ["float32", "float16"])
def test_there_and_back(folder: Path, num: int, vector_type: str) -> None:
    written = write_shard(folder, 12, rows(num), vectors(num), columns=COLUMNS, vector_type=vector_type)
    path = folder / "shards" / "000012.parquet"
    assert (written.file, written.num_rows, written.num_bytes) == ("shards/000012.parquet", num, path.stat().st_size)
    back = MappedTable(path, written).block(0, num)
    assert (back.dtype, back.shape) == (vector_type if num else "float32", (num, 5))
    np.testing.assert_array_equal(back, vectors(num).astype(vector_type))
    names = ["key", "uri", "sha256", "width", "height", "label", "title", "year"]
    table = read_columns(path, names)
    expected = [(r.key, r.uri, r.sha256, r.width, r.height, r.label, *map(r.columns.get, names[6:])) for r in rows(num)]
    assert [tuple(row.values()) for row in table.to_pylist()] == expected


def test_the_same_rows_give_the_same_bytes_in_one_row_group(folder: Path) -> None:
    first = write_shard(folder, 0, rows(300), vectors(300), columns=COLUMNS)
    again = write_shard(folder, 1, rows(300), vectors(300), columns=COLUMNS)
    assert first.sha256 == again.sha256
    assert pq.read_metadata(folder / first.file).num_row_groups == 1


@pytest.mark.parametrize("pieces", [[1300], [1, 700, 0, 599], [512, 512, 276]])
def test_the_bytes_do_not_depend_on_how_rows_lie_in_memory(folder: Path, pieces: list[int]) -> None:
    written = write_shard(folder, 0, rows(1300), vectors(1300), columns=COLUMNS)
    table = MappedTable(folder / written.file, written)
    whole = table.columns(table.names)
    ends = np.cumsum(pieces)
    cut = pa.concat_tables([whole.slice(end - num, num) for end, num in zip(ends, pieces, strict=True)])
    assert write_rows(folder, 1, cut).sha256 == written.sha256


def test_any_parquet_reader_sees_plain_types(folder: Path) -> None:
    written = write_shard(folder, 0, rows(2), vectors(2), columns=COLUMNS)
    types = {field.name: str(field.type) for field in pq.read_schema(folder / written.file)}
    assert types["key"] == "int64"
    assert types["width"] == types["height"] == "int32"
    assert types["sha256"] == types["uri"] == types["label"] == types["title"] == "string"
    assert types["embedding"].startswith("fixed_size_list<element: float not null>[5]")


def test_damage_is_named(folder: Path) -> None:
    path = folder / write_errors(folder, [ErrorRow(i, "b.jpg", "decode", "ImageError", "cut") for i in range(50)]).file
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GalleryError, match=r"errors\.parquet is damaged.*semblance verify"):
        read_columns(path, ["key"])
    path.unlink()
    with pytest.raises(GalleryError, match=r"errors\.parquet is missing"):
        read_columns(path, ["key"])


def test_errors_there_and_back(tmp_path: Path) -> None:
    errors = [ErrorRow(3, "b.jpg", "decode", "ImageError", "cut short"), ErrorRow(4, "c", "read", "OSError", "gone")]
    for listed in (errors, []):
        assert write_errors(tmp_path, listed).num_rows == len(listed)
        found = read_columns(tmp_path / "errors.parquet", ["key", "uri", "stage", "error", "message"]).to_pylist()
        assert [ErrorRow(**row) for row in found] == listed


def some_errors(num: int) -> list[ErrorRow]:
    return [ErrorRow(i, f"{i}.jpg", "decode", "ImageError", "cut short") for i in range(num)]


def test_errors_beyond_what_was_committed_are_taken_off_again(tmp_path: Path) -> None:
    committed = write_errors(tmp_path, some_errors(3))
    before = (tmp_path / "errors.parquet").read_bytes()
    assert committed_errors(tmp_path, committed).num_rows == 3
    write_errors(tmp_path, some_errors(5)[3:], before=committed_errors(tmp_path, committed))
    table = committed_errors(tmp_path, committed)
    assert table.column("key").to_pylist() == [0, 1, 2]
    write_errors(tmp_path, [], before=table)
    assert (tmp_path / "errors.parquet").read_bytes() == before


def test_errors_that_were_never_committed_are_damage(tmp_path: Path) -> None:
    committed = write_errors(tmp_path, some_errors(3))
    for others in (some_errors(2), some_errors(4)[1:], [*some_errors(2), *some_errors(4)[3:], *some_errors(4)[2:]]):
        write_errors(tmp_path, others)
        with pytest.raises(GalleryError, match=r"errors\.parquet is damaged"):
            committed_errors(tmp_path, committed)


def test_column_types() -> None:
    assert column_types([]) == {}
    values = [{"b": 1, "a": None, "c": 1, "d": True}, {"b": None, "a": None, "c": 2.5, "e": "x"}]
    assert column_types(values) == {"a": "string", "b": "int64", "c": "double", "d": "bool", "e": "string"}
    with pytest.raises(GalleryError, match=r"\['key', 'label'\] have names that every gallery uses"):
        column_types([{"key": 1, "label": "x", "fine": 1}])
    with pytest.raises(GalleryError, match=r"column 'a' holds \['int64', 'string'\]"):
        column_types([{"a": 1}, {"a": "x"}])
    with pytest.raises(GalleryError, match=r"column 'a' holds .*list"):
        column_types([{"a": [1]}])  # type: ignore[dict-item]


def test_misfits() -> None:
    types = {"i": "int64", "f": "double", "s": "string", "b": "bool"}
    assert misfit({"i": 1, "f": 2, "s": None, "b": False}, types) == ""
    assert misfit({}, types) == ""
    assert "'i' is 1.5; the gallery's is int64" in misfit({"i": 1.5}, types)
    assert "'i' is True" in misfit({"i": True}, types)
    assert "'x' is not among the gallery's" in misfit({"x": 1}, types)


def test_misfits_that_doubles_would_round() -> None:
    types = {"f": "double"}
    for value in (2**53, -(2**53), 0.1, None):
        assert misfit({"f": value}, types) == ""
    for value in (2**53 + 1, -(2**53) - 1, 2**62):
        assert "the gallery's is double, which ends being exact at 2**53" in misfit({"f": value}, types)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_vectors_that_cannot_be_compared(kind: type) -> None:
    vector = np.array([0, 1, -2], kind)
    for metric in ("cos", "l2sq"):
        assert vector_problem(vector, metric) == ""  # type: ignore[arg-type]
        for value in (np.nan, np.inf, -np.inf):
            odd = vector.copy()
            odd[1] = value
            said = vector_problem(odd, metric)  # type: ignore[arg-type]
            assert said == f"its embedding is not finite as {np.dtype(kind)}"
    zero = np.zeros(3, kind)
    assert vector_problem(zero, "l2sq") == ""
    assert vector_problem(zero, "cos") == "its embedding is zero, which has no direction to compare by cosine"
    smallest = np.array([0, np.finfo(kind).smallest_subnormal, 0], kind)
    assert vector_problem(smallest, "cos") == ""


def test_extreme_keys_and_sizes_there_and_back(folder: Path) -> None:
    odd = [
        Row(-(2**63), "", "f" * 64, 0, 0, ""),
        Row(-1, "a", "0" * 64, 2**31 - 1, 2**31 - 1),
        Row(2**63 - 1, "b", "0" * 64, 1, 1),
    ]
    written = write_shard(folder, 0, odd, vectors(3), columns={"n": "int64", "f": "double", "b": "bool", "s": "string"})
    table = MappedTable(folder / written.file, written)
    assert table.columns(["key"]).column("key").to_pylist() == [-(2**63), -1, 2**63 - 1]
    rows = table.columns(["uri", "label", "width", "n", "f", "b", "s"]).to_pylist()
    assert [row["label"] for row in rows] == ["", None, None]
    assert [row["width"] for row in rows] == [0, 2**31 - 1, 1]
    assert all(row[name] is None for row in rows for name in "nfbs")


def test_the_number_of_keypoints_stands_before_the_sources_own_columns(folder: Path) -> None:
    without = write_shard(folder, 0, rows(3), vectors(3), columns=COLUMNS)
    written = write_shard(folder, 1, rows(3), vectors(3), columns=COLUMNS, num_keypoints=[0, 5, 512])
    schema = pq.read_schema(folder / written.file)
    assert [name for name in schema.names if name != "num_keypoints"] == pq.read_schema(folder / without.file).names
    assert schema.names[6] == "num_keypoints"
    assert str(schema.field("num_keypoints").type) == "int32"
    assert read_columns(folder / written.file, ["num_keypoints"]).column(0).to_pylist() == [0, 5, 512]


def test_the_sources_own_column_of_that_name_is_refused_where_it_is_taken() -> None:
    assert column_types([{"num_keypoints": 1}]) == {"num_keypoints": "int64"}
    with pytest.raises(GalleryError, match="'num_keypoints' has a name that a gallery with SIFT uses itself; rename"):
        column_types([{"num_keypoints": 1}], has_keypoints=True)
