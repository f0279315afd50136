"""Files of keypoints as any Parquet reader finds them: every picture's in order, and the same bytes each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from semblance.gallery.keypoints import (
    DESCRIPTOR,
    FLOATS,
    KEYPOINT_BYTES,
    keypoints_problem,
    sift_name,
    write_keypoints,
)
from semblance.gallery.manifest import TableFile
from semblance.gallery.stored_keypoints import PictureKeypoints
from tests.semblance.gallery.conftest import joined


def drawn(num: int, seed: int = 0) -> PictureKeypoints:
    rng = np.random.default_rng(seed)
    points, other = rng.random((num, 2), np.float32), rng.random((3, num), np.float32)
    return PictureKeypoints(points, *other, rng.integers(0, 256, (num, 128), dtype=np.uint8))


def written(folder: Path, counts: list[int], number: int = 0) -> tuple[TableFile, list[PictureKeypoints]]:
    (folder / "sift").mkdir(exist_ok=True)
    found = [drawn(count, seed) for seed, count in enumerate(counts)]
    return write_keypoints(folder, number, keys_of(counts), counts, found), found


def keys_of(counts: list[int]) -> NDArray[np.int64]:
    return 100 - np.arange(len(counts), dtype=np.int64)  # any integers, in any order


@pytest.mark.parametrize("counts", [[], [0], [0, 0, 0], [1], [2, 0, 1, 700, 0]])
def test_any_reader_finds_every_keypoint_under_its_pictures_key(tmp_path: Path, counts: list[int]) -> None:
    file, given = written(tmp_path, counts)
    assert (file.file, file.num_rows) == ("sift/000000.parquet", sum(counts))
    table = pq.read_table(tmp_path / file.file)
    types = {"key": "int64", **dict.fromkeys(FLOATS, "float"), DESCRIPTOR: "fixed_size_binary[128]"}
    assert {field.name: str(field.type) for field in table.schema} == types
    assert table.column("key").to_pylist() == np.repeat(keys_of(counts), counts).tolist()
    if given:
        points, *others, descriptors = joined(given)
        for name, expected in zip(FLOATS, [*points.T, *others], strict=True):
            np.testing.assert_array_equal(table.column(name).to_numpy(), expected)
        assert b"".join(table.column(DESCRIPTOR).to_pylist()) == descriptors.tobytes()
    query = f"SELECT count(*), sum(octet_length(descriptor)), sum(x) FROM '{tmp_path / file.file}'"
    num, num_bytes, total = duckdb.sql(query).fetchall()[0]
    assert (num, num_bytes or 0) == (sum(counts), 128 * sum(counts))
    assert total is None or np.isclose(total, joined(given)[0][:, 0].sum())


def test_the_same_keypoints_give_the_same_bytes_in_whatever_pieces(tmp_path: Path) -> None:
    counts = [3, 0, 1300, 1]
    file, given = written(tmp_path, counts)
    once = write_keypoints(tmp_path, 1, keys_of(counts), counts, [PictureKeypoints(*joined(given))])  # type: ignore[arg-type]
    assert (once.file, once.sha256) == (sift_name(1), file.sha256)
    metadata = pq.read_metadata(tmp_path / file.file)
    assert metadata.num_row_groups == 1
    columns = {metadata.row_group(0).column(i).path_in_schema: metadata.row_group(0).column(i) for i in range(7)}
    assert columns["key"].compression == "ZSTD"
    plain = [columns[name] for name in (*FLOATS, DESCRIPTOR)]
    assert {column.compression for column in plain} == {"UNCOMPRESSED"}
    # one page each: the values, and one header before them
    assert 0 < sum(column.total_compressed_size for column in plain) - KEYPOINT_BYTES * sum(counts) < 6 * 50


def test_counts_that_are_not_those_of_the_keypoints_are_a_mistake_of_ours(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        write_keypoints(tmp_path, 0, np.arange(2), [1, 1], [drawn(1)])


def test_keypoints_that_no_gallery_can_hold() -> None:
    good = drawn(3)
    assert keypoints_problem(good, 3) == keypoints_problem(drawn(0), 0) == ""
    assert "it has 3 keypoints, the gallery keeps up to 2" in keypoints_problem(good, 2)
    for wrong in (
        replace(good, sizes=good.sizes[:2]),
        replace(good, points=good.points.T),
        replace(good, descriptors=good.descriptors[:, :127]),
        replace(good, descriptors=good.descriptors.astype(np.float32)),
    ):
        assert "expected points [K, 2], sizes, angles and responses [K]" in keypoints_problem(wrong, 3)
