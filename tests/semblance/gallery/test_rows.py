"""Rows of several shards against one array: blocks, single vectors, columns; and what is a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import GalleryError, InputError
from semblance.gallery import rows as rows_module
from semblance.gallery.mapped import MappedTable
from semblance.gallery.rows import Rows, as_keys
from semblance.gallery.shards import Row, write_shard

SIZES = [3, 0, 1, 20, 0]


def vectors_of(num: int, dimension: int = 5) -> NDArray[np.float32]:
    return np.random.default_rng(num).standard_normal((num, dimension)).astype(np.float32)


@pytest.fixture(params=["float32", "float16"])
def whole(request: pytest.FixtureRequest) -> NDArray[np.floating]:
    return np.concatenate([vectors_of(num) for num in SIZES]).astype(request.param)


@pytest.fixture
def rows(tmp_path: Path, whole: NDArray[np.floating]) -> Rows:
    (tmp_path / "shards").mkdir()
    tables, first = [], 0
    for number, num in enumerate(SIZES):
        content = [Row(first + i, f"{first + i}.jpg", "0" * 64, 1, 1) for i in range(num)]
        table = write_shard(
            tmp_path, number, content, vectors_of(num), columns={}, vector_type=str(whole.dtype)  # type: ignore[arg-type]
        )  # fmt: skip
        tables.append(MappedTable(tmp_path / table.file, table))
        first += num
    return Rows(tables, 5)


def test_rows_are_counted_on_through_the_shards(rows: Rows, whole: NDArray) -> None:
    assert len(rows) == 24
    assert rows.starts.tolist() == [0, 3, 3, 4, 24, 24]
    assert rows.column("key").to_pylist() == list(range(24))
    assert rows.columns(["uri", "key"], start=3).column_names == ["uri", "key"]
    assert rows.columns(["uri"], start=3).num_rows == 20


@pytest.mark.parametrize("start", [0, 2, 3, 4, 5, 23, 24])
@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_blocks_from_any_row_on(
    rows: Rows, whole: NDArray, start: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_BLOCK_BYTES", 4 * 5 * at_once)
    blocks = rows.blocks(start)
    assert [len(block) for block in blocks] == [len(blocks[number]) for number in range(len(blocks))]
    assert max(map(len, blocks), default=0) <= at_once
    assert all(len(block) for block in blocks)
    joined = np.concatenate([np.empty((0, 5), whole.dtype), *blocks])
    np.testing.assert_array_equal(joined, whole[start:])
    assert joined.dtype == whole.dtype
    for part in (slice(1, 3), slice(None, None, -1), slice(0, 0)):
        assert [block.tolist() for block in blocks[part]] == [block.tolist() for block in list(blocks)[part]]
    if len(blocks):
        np.testing.assert_array_equal(blocks[-1], list(blocks)[-1])
    with pytest.raises(IndexError):
        blocks[len(blocks)]


def test_what_is_given_belongs_to_whoever_asked(rows: Rows, whole: NDArray) -> None:
    for block in rows.blocks():
        block[:] = 0
    taken = rows.gather(np.arange(24))
    taken[:] = 0
    np.testing.assert_array_equal(rows.gather(np.arange(24)), whole)


@pytest.mark.parametrize("chosen", [[], [0], [23], [3, 3, 2], [23, 0, 4, 22, 3, 0], list(range(24))[::-1]])
def test_single_ones_in_any_order(rows: Rows, whole: NDArray, chosen: list[int]) -> None:
    found = rows.gather(np.array(chosen, np.int64))
    assert found.shape == (len(chosen), 5)
    np.testing.assert_array_equal(found, whole[np.array(chosen, np.int64)])


def test_one_shard_and_none(rows: Rows, whole: NDArray) -> None:
    one = Rows(rows.tables[3:4], 5)
    np.testing.assert_array_equal(one.gather(np.array([19, 0])), whole[[23, 4]])
    np.testing.assert_array_equal(np.concatenate(list(one.blocks(7))), whole[11:])
    none = Rows([], 5)
    assert (len(none), len(none.blocks()), none.gather(np.empty(0, np.int64)).shape) == (0, 0, (0, 5))


def test_another_dimension_is_damage(rows: Rows) -> None:
    other = Rows(rows.tables, 6)
    for use in (lambda: other.gather(np.array([0, 5])), lambda: list(other.blocks())):
        with pytest.raises(GalleryError, match="its embeddings have 5 dimensions, the model 6"):
            use()


@pytest.mark.parametrize(
    "given",
    [
        [3, -1, 2**63 - 1, -(2**63)], np.array([[1, 2]], np.uint8), np.array([7], np.uint64), (5,), [],
        np.empty((0, 2), np.float32), np.array([2], ">i4"),
    ],
)  # fmt: skip
def test_integers_are_keys(given: Any) -> None:
    found = as_keys(given)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, np.asarray(given))


@pytest.mark.parametrize(
    "given",
    [[1.0], [2.5], np.array([3.0]), [np.nan], ["3"], [None], [True], [2**63], [2**64], [-(2**63) - 1], [2**63, -1],
     np.array([2**64 - 1], np.uint64), [1, "x"]],
)  # fmt: skip
def test_nothing_else_is_cut_or_wrapped_to_one(given: Any) -> None:
    with pytest.raises(InputError, match="keys must be integers of 64 bits, are "):
        as_keys(given)


# Values of single rows, and what two states share ------------------------------------------------------------------


@pytest.mark.parametrize("num", [0, 1, 5, 200])
def test_values_of_rows_in_any_order(rows: Rows, num: int) -> None:
    wanted = np.random.default_rng(num).integers(0, len(rows), num)
    found = rows.values(wanted, ["uri", "key", "label"])
    assert found == {
        "uri": [f"{row}.jpg" for row in wanted], "key": wanted.tolist(), "label": [None] * num,
    }  # fmt: skip


def test_a_column_that_is_not_there_is_said(rows: Rows) -> None:
    with pytest.raises(GalleryError, match="is damaged"):
        rows.values(np.array([0]), ["no such"])


def test_keys_from_a_shard_on(rows: Rows) -> None:
    assert rows.keys().tolist() == list(range(24))
    assert rows.keys(3).tolist() == list(range(4, 24))
    assert rows.keys(5).tolist() == []


def test_shards_that_two_states_share(rows: Rows) -> None:
    tables, other = rows.tables, MappedTable(rows.tables[2].path, rows.tables[2].table)
    assert rows.num_shared(Rows(tables, 5)) == (5, 24)
    assert rows.num_shared(Rows(tables[:3], 5)) == Rows(tables[:3], 5).num_shared(rows) == (3, 4)
    assert rows.num_shared(Rows([*tables[:2], other, *tables[3:]], 5)) == (2, 3)
    assert rows.num_shared(Rows([], 5)) == (0, 0)
