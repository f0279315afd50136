"""Rows to Parquet and back, the same to the byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from semblance.errors import GalleryError
from semblance.gallery.shards import (
    ErrorRow,
    Row,
    column_types,
    count_rows,
    misfit,
    read_columns,
    read_vectors,
    write_errors,
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
    back = read_vectors(path)
    assert (back.dtype, back.shape) == (np.float32, (num, 5))
    np.testing.assert_array_equal(back, vectors(num).astype(vector_type))
    assert count_rows(path) == num
    names = ["key", "uri", "sha256", "width", "height", "label", "title", "year"]
    table = read_columns(path, names)
    expected = [(r.key, r.uri, r.sha256, r.width, r.height, r.label, *map(r.columns.get, names[6:])) for r in rows(num)]
    assert [tuple(row.values()) for row in table.to_pylist()] == expected


def test_the_same_rows_give_the_same_bytes_in_one_row_group(folder: Path) -> None:
    first = write_shard(folder, 0, rows(300), vectors(300), columns=COLUMNS)
    again = write_shard(folder, 1, rows(300), vectors(300), columns=COLUMNS)
    assert first.sha256 == again.sha256
    assert pq.read_metadata(folder / first.file).num_row_groups == 1


def test_any_parquet_reader_sees_plain_types(folder: Path) -> None:
    written = write_shard(folder, 0, rows(2), vectors(2), columns=COLUMNS)
    types = {field.name: str(field.type) for field in pq.read_schema(folder / written.file)}
    assert types["key"] == "int64"
    assert types["width"] == types["height"] == "int32"
    assert types["sha256"] == types["uri"] == types["label"] == types["title"] == "string"
    assert types["embedding"].startswith("fixed_size_list<element: float not null>[5]")


def test_float32_embeddings_are_not_copied(folder: Path) -> None:
    path = folder / write_shard(folder, 0, rows(300), vectors(300), columns=COLUMNS).file
    assert not read_vectors(path).flags.owndata


def test_damage_is_named(folder: Path) -> None:
    path = folder / write_shard(folder, 0, rows(300), vectors(300), columns=COLUMNS).file
    whole = path.read_bytes()
    start = whole.find(vectors(300).tobytes()[:20])
    assert start > 0  # embeddings lie there as they are
    path.write_bytes(whole[:start] + bytes([whole[start] ^ 1]) + whole[start + 1 :])
    with pytest.raises(GalleryError, match=r"000000\.parquet is damaged.*restore it"):
        read_vectors(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GalleryError, match=r"000000\.parquet is damaged"):
        count_rows(path)
    path.unlink()
    with pytest.raises(GalleryError, match=r"000000\.parquet is missing"):
        read_columns(path, ["key"])


def test_errors_there_and_back(tmp_path: Path) -> None:
    errors = [ErrorRow(3, "b.jpg", "decode", "ImageError", "cut short"), ErrorRow(4, "c", "read", "OSError", "gone")]
    for listed in (errors, []):
        assert write_errors(tmp_path, listed).num_rows == len(listed)
        found = read_columns(tmp_path / "errors.parquet", ["key", "uri", "stage", "error", "message"]).to_pylist()
        assert [ErrorRow(**row) for row in found] == listed


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
