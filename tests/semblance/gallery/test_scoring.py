"""Scores by floats and by bytes: never further off than their bound says, and minima that are minima."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import InputError
from semblance.gallery import scoring
from semblance.gallery.codes_product import codes_product
from semblance.gallery.exact import search_exact
from semblance.gallery.scoring import APART, Block, Scores, Tile, code_scores, float_scores, pair_scores, query_tiles
from tests.semblance.gallery.test_exact import plain_distances

METRICS = ["cos", "l2sq"]


def prepared(queries: NDArray, vectors: NDArray, metric: Any) -> tuple[Tile, Block]:
    (tile,) = query_tiles(queries, k=1, metric=metric, exclude=None, size=len(queries))
    return tile, Block.prepare(vectors, 0, metric, queries.shape[1], 1)


def scored(tile: Tile, block: Block, metric: Any, way: str) -> Scores | None:
    room = np.full(len(tile.values) * (len(block.values) + 2000 + APART), np.nan, np.float32)
    if way == "floats":
        return float_scores(tile, block, metric, room)
    block.encode(metric, map)
    if (product := codes_product(tile.values.shape[1])) is None:
        pytest.skip("this processor does not multiply bytes exactly")
    return code_scores(tile, block, metric, room, product)


def hard_values(num: int, dimension: int, *, is_unit: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Queries and vectors that round badly, or are nearly of unit length; some vectors are zero."""
    rng = np.random.default_rng(8)
    vectors = (rng.random((num, dimension)) + rng.choice([0, 1e3], (num, 1))).astype(np.float32)
    queries = (rng.random((10, dimension)) + rng.choice([0, 1e3], (10, 1))).astype(np.float32)
    if is_unit:
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * (1 - 2.0**-21)).astype(np.float32)
        queries = (0.75 * queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    else:
        vectors[3], vectors[-1, 1:] = 0, 0  # and one that is a single value
        vectors[-1, 0] = 900
    return queries, vectors


@pytest.mark.parametrize("way", ["floats", "bytes"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 63, 700, 5000])
@pytest.mark.parametrize("num", [200, 4105])
@pytest.mark.parametrize("is_unit", [False, True])
def test_the_error_bound_holds_for_every_score(way: str, metric: str, dimension: int, num: int, is_unit: bool) -> None:
    """The proof's claim itself: |score - true| <= bound."""
    queries, vectors = hard_values(num, dimension, is_unit=is_unit)
    tile, block = prepared(queries, vectors, metric)
    assert (block.scaled is block.values) == (is_unit and metric == "cos")
    scores = scored(tile, block, metric, way)
    assert scores is not None
    true = np.ldexp(plain_distances(queries, vectors, metric) - scores.offset[:, None], scores.scale[:, None])
    num_groups = scores.minima.shape[1]
    query, group = (each.ravel() for each in np.mgrid[:10, :num_groups])
    members = scores.members(query, group)  # of all
    np.testing.assert_array_equal(members.min(axis=1), scores.minima.ravel())
    rows = scores.rows(group[:, None], np.arange(block.group)[None, :])
    assert sorted(rows[query == 0].ravel().tolist()) == list(range(num_groups * block.group))
    is_there = rows < num
    off = np.abs(members - np.pad(true, ((0, 0), (0, num_groups * block.group)))[query[:, None], rows])
    assert (off <= scores.bound[query][:, None])[is_there].all()
    assert np.isposinf(members[~is_there]).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 63, 700, 5000])
@pytest.mark.parametrize("is_unit", [False, True])
def test_the_error_bound_holds_for_every_pair(metric: Any, dimension: int, is_unit: bool) -> None:
    queries, vectors = hard_values(300, dimension, is_unit=is_unit)
    tile, block = prepared(queries, vectors, metric)
    scores = scored(tile, block, metric, "bytes")
    assert scores is not None
    query, row = (each.ravel() for each in np.mgrid[:10, :300])
    found, bound = pair_scores(tile, block, metric, query, row)
    true = np.ldexp(plain_distances(queries, vectors, metric) - scores.offset[:, None], scores.scale[:, None])
    assert (np.abs(found.reshape(10, 300) - true) <= bound).all()
    assert bound < scores.bound.min()


def test_queries_beyond_the_vectors_have_no_codes() -> None:
    vectors = np.random.default_rng(0).random((100, 4), dtype=np.float32)
    tile, block = prepared(vectors[:3] * 100, vectors, "l2sq")
    assert scored(tile, block, "l2sq", "bytes") is None
    tile, block = prepared(vectors[:3] * 100, vectors, "cos")
    assert scored(tile, block, "cos", "bytes") is not None


@pytest.mark.parametrize("dimension", [4095, 4096, 4097, 8192])
@pytest.mark.parametrize("metric", METRICS)
def test_the_bound_counts_the_sums_that_the_product_has(
    metric: Any, dimension: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    depths = []
    depth = scoring._depth
    monkeypatch.setattr(scoring, "_depth", lambda num: (depths.append(depth(num)), depth(num))[1])
    search_exact(np.ones((2, dimension), np.float32), np.ones((4, dimension), np.float32), k=1, metric=metric)
    assert len(set(depths)) == 1


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(InputError, match="vectors must be"):
        Block.prepare(np.ones(3, np.float32), 0, "cos", 3, 1)
