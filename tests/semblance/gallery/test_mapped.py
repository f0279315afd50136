"""A shard as it lies on the disk: read without decoding, against what a Parquet reader says, and checked first."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from semblance.errors import GalleryError
from semblance.gallery.manifest import TableFile
from semblance.gallery.mapped import MappedTable, damaged
from semblance.gallery.shards import Row, write_shard


def vectors_of(num: int, dimension: int) -> NDArray[np.float32]:
    return np.random.default_rng(num).standard_normal((num, dimension)).astype(np.float32)


def written(folder: Path, num: int, dimension: int = 5, vector_type: str = "float32", **columns: str) -> MappedTable:
    (folder / "shards").mkdir(exist_ok=True)
    rows = [Row(i, f"{i}.jpg", "0" * 64, 1, 1, "x" * (i % 3) or None, {"n": i}) for i in range(num)]
    table = write_shard(
        folder, 0, rows, vectors_of(num, dimension), columns={"n": "int64"}, vector_type=vector_type  # type: ignore[arg-type]
    )  # fmt: skip
    return MappedTable(folder / table.file, table)


def named(path: Path) -> TableFile:
    content = path.read_bytes()
    return TableFile(path.name, pq.read_metadata(path).num_rows, len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("vector_type", ["float32", "float16"])
@pytest.mark.parametrize("dimension", [1, 3, 64, 700])
@pytest.mark.parametrize("num", [1, 2, 500])
def test_embeddings_are_those_that_a_parquet_reader_finds(
    tmp_path: Path, vector_type: str, dimension: int, num: int
) -> None:
    table = written(tmp_path, num, dimension, vector_type)
    expected = pq.read_table(table.path).column("embedding").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    expected = expected.reshape(num, dimension)
    assert (table.dimension, len(table)) == (dimension, num)
    for start, stop in ((0, num), (num // 2, num), (0, 0), (num - 1, num)):
        found = table.block(start, stop)
        np.testing.assert_array_equal(found, expected[start:stop])
        assert (found.dtype, found.flags.writeable) == (np.dtype(vector_type), True)
    rows = np.random.default_rng(0).integers(0, num, 2 * num)
    np.testing.assert_array_equal(table.take(rows), expected[rows])
    assert table.take(rows[:0]).shape == (0, dimension)
    np.testing.assert_array_equal(expected, vectors_of(num, dimension).astype(vector_type))


def test_columns_and_their_names(tmp_path: Path) -> None:
    table = written(tmp_path, 4)
    assert table.names == ["key", "uri", "sha256", "width", "height", "label", "n", "embedding"]
    assert table.columns(["n", "label"]).to_pylist() == [{"n": i, "label": "x" * (i % 3) or None} for i in range(4)]
    assert table.columns([]).num_rows in (0, 4)
    assert pq.read_table(table.file()).equals(pq.read_table(table.path))


def test_no_rows(tmp_path: Path) -> None:
    table = written(tmp_path, 0, 7)
    assert (len(table), table.dimension, table.block(0, 0).shape) == (0, 7, (0, 7))
    assert table.columns(["key"]).num_rows == 0


def test_what_is_mapped_outlives_its_name(tmp_path: Path) -> None:
    """Also where it was never read before."""
    table, other = written(tmp_path, 50), written(tmp_path, 50)
    table.path.unlink()
    np.testing.assert_array_equal(table.block(0, 50), vectors_of(50, 5))
    assert other.columns(["key"]).column("key").to_pylist() == list(range(50))
    assert pq.read_table(other.file()).num_rows == 50


def test_missing_short_and_empty_files_are_refused_when_they_are_opened(tmp_path: Path) -> None:
    table = written(tmp_path, 50)
    whole = table.path.read_bytes()
    for content in (whole[:-1], whole + b"x", b""):
        table.path.write_bytes(content)
        says = rf"000000\.parquet is damaged \(it has {len(content)} bytes, the manifest says {len(whole)}\)"
        with pytest.raises(GalleryError, match=says) as caught:
            MappedTable(table.path, table.table)
        assert str(caught.value).endswith(f"; `semblance verify {tmp_path}` says what is left and what to do")
    with pytest.raises(GalleryError, match="it has 0 bytes"):
        MappedTable(table.path, replace(table.table, num_bytes=0))
    table.path.unlink()
    with pytest.raises(GalleryError, match=r"000000\.parquet is missing"):
        MappedTable(table.path, table.table)
    table.path.mkdir()
    with pytest.raises(GalleryError, match=r"000000\.parquet is damaged"):
        MappedTable(table.path, table.table)


USES = [
    lambda table: table.block(0, 1),
    lambda table: table.take(np.array([0])),
    lambda table: table.columns(["key"]),
    lambda table: table.file(),
    lambda table: table.names,
    lambda table: table.dimension,
    lambda table: table.check(),
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.97])
def test_a_flipped_byte_is_found_whatever_is_read_first(tmp_path: Path, use: Any, share: float) -> None:
    table = written(tmp_path, 50)
    content = bytearray(table.path.read_bytes())
    content[int(share * len(content))] ^= 1
    table.path.write_bytes(content)
    again = MappedTable(table.path, table.table)
    for _ in range(2):  # not only the first time
        with pytest.raises(GalleryError, match=r"000000\.parquet is damaged \(its sha256 begins .* the manifest says"):
            use(again)


def test_a_right_checksum_of_another_table(tmp_path: Path) -> None:
    table = written(tmp_path, 50)
    with pytest.raises(GalleryError, match=r"it has 50 rows, the manifest says 49"):
        MappedTable(table.path, replace(table.table, num_rows=49)).check()


def fixed(num: int, dimension: int = 2) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors_of(num, dimension).reshape(-1)), dimension)


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ({"key": [1, 2]}, {}, "its embeddings are None"),
        ({"embedding": [[1.0], [2.0]]}, {}, "its embeddings are list"),
        ({"embedding": fixed(4)}, {"row_group_size": 2}, "in 2 row groups"),
        ({"embedding": fixed(4)}, {"compression": "zstd"}, "are not its last column, uncompressed"),
        ({"embedding": fixed(4), "key": [1, 2, 3, 4]}, {"compression": "none"}, "are not its last column"),
    ],
)
def test_embeddings_that_do_not_lie_as_ours_do(
    tmp_path: Path, content: Any, options: dict[str, Any], says: str
) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(content), path, use_dictionary=False, **options)
    with pytest.raises(GalleryError, match=says):
        MappedTable(path, named(path)).block(0, 1)


def test_what_is_no_parquet_file_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 and nothing else PAR1")
    content = path.read_bytes()
    table = MappedTable(path, TableFile("x.parquet", 1, len(content), hashlib.sha256(content).hexdigest()))
    for use in USES:
        with pytest.raises(GalleryError, match=r"x\.parquet is damaged"):
            use(table)


def test_the_gallery_of_a_file_is_the_folder_that_verify_takes(tmp_path: Path) -> None:
    for name in (
        "shards/000000.parquet",
        "sift/000000.parquet",
        "index/000001.usearch",
        "errors.parquet",
        "removed-000001.parquet",
    ):
        (path := tmp_path / name).parent.mkdir(exist_ok=True)
        assert str(damaged(path, "x")) == (
            f"{path} is missing; `semblance verify {tmp_path}` says what is left and what to do"
        )
        path.touch()
        assert str(damaged(path, "x")).startswith(f"{path} is damaged (x); `semblance verify {tmp_path}` says")


def test_values_are_those_of_any_column_in_one_plain_page(tmp_path: Path) -> None:
    columns = {
        "embedding": fixed(4),
        "key": pa.array([3, -1, 2**40, 0], pa.int64()),
        "size": pa.array([0.5, 1, 2, 3], pa.float32()),
        "name": pa.FixedSizeBinaryArray.from_buffers(pa.binary(3), 4, [None, pa.py_buffer(b"abcdefghijkl")]),
    }
    fields = [pa.field(name, array.type, nullable=False) for name, array in columns.items()]
    for num in (4, 1, 0):
        content = pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields)).slice(0, num)
        pq.write_table(content, tmp_path / "x.parquet", compression="none", use_dictionary=False)
        table = MappedTable(tmp_path / "x.parquet", named(tmp_path / "x.parquet"))
        assert table.values("key", 8).view("<i8")[:, 0].tolist() == [3, -1, 2**40, 0][:num]
        assert table.values("size", 4).view("<f4")[:, 0].tolist() == [0.5, 1, 2, 3][:num]
        assert table.values("name", 3).tobytes() == b"abcdefghijkl"[: 3 * num]
        assert not table.values("name", 3).flags.writeable


@pytest.mark.parametrize(
    ("options", "name", "row_bytes", "says"),
    [
        ({}, "y", 4, "it has no column 'y' in one row group"),
        ({"row_group_size": 2}, "x", 4, "it has no column 'x' in one row group"),
        ({"compression": "zstd"}, "x", 4, "its column 'x' is not uncompressed"),
        ({"use_dictionary": True}, "x", 4, "its column 'x' is not uncompressed"),
        ({}, "x", 4096, "its column 'x' is no 4096 bytes wide"),
    ],
)
def test_values_that_do_not_lie_as_ours_do(
    tmp_path: Path, options: dict[str, Any], name: str, row_bytes: int, says: str
) -> None:
    path = tmp_path / "x.parquet"
    content = pa.table({"x": pa.array([1, 2, 3, 4], pa.float32())})
    pq.write_table(content, path, **{"compression": "none", "use_dictionary": False, **options})
    with pytest.raises(GalleryError, match=says):
        MappedTable(path, named(path)).values(name, row_bytes)


def test_columns_that_are_kept_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, read = written(tmp_path, 700), list[list[str]]()
    columns = table.columns
    monkeypatch.setattr(table, "columns", lambda names: (read.append(list(names)), columns(names))[1])
    for _ in range(2):
        kept = table.kept(["uri", "n"])
        assert kept["n"].to_pylist() == list(range(700))
        assert kept["uri"][699].as_py() == "699.jpg"
    assert table.kept(["n", "label"])["label"][:3].to_pylist() == [None, "x", "xx"]
    assert read == [["uri", "n"], ["label"]]
    assert len(written(tmp_path, 0).kept(["n"])["n"]) == 0
