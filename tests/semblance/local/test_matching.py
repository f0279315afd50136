"""Lowe's ratio test on exact distances, beside one worked out pair by pair and beside OpenCV's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from semblance.errors import BackendError, InputError
from semblance.local import matching, nearest
from semblance.local.descriptors import DescriptorSets
from semblance.local.matching import SetMatches, match, match_one_to_many, match_sets, score, scores
from semblance.local.sift import SiftOptions, extract
from tests.semblance.local.conftest import Pair

Descriptors = NDArray[np.uint8]

COUNTS = [0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 64, 65, 200]


def sift_like(num: int, seed: int) -> Descriptors:
    """Descriptors [num, 128] made as SIFT makes its own: of unit length, cut at .2, of unit length again, times 512."""
    values = np.random.default_rng(seed).gamma(0.6, 1, (num, 128))
    for _ in range(2):
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        values = np.minimum(values, 0.2)
    return np.minimum(np.rint(values * 512), 255).astype(np.uint8)


def related(a: Descriptors, num: int, seed: int) -> Descriptors:
    """`num` descriptors, half of them about those of `a`, some of them twice."""
    rng = np.random.default_rng(seed)
    b = sift_like(num, seed)
    some = min(len(a), num) // 2
    b[:some] = np.clip(a[:some].astype(int) + rng.integers(-6, 7, (some, 128)), 0, 255)
    if num > 4:
        b[-1], b[-2] = b[0], b[some]
    return b


def plain(a: Descriptors, b: Descriptors, ratio: Fraction, *, mutual: bool = False) -> list[tuple[int, int, int]]:
    """(query, train, squared distance), pair by pair in Python's integers."""
    found = []
    distances = [[int(((x.astype(int) - y.astype(int)) ** 2).sum()) for y in b] for x in a]
    for query, row in enumerate(distances):
        if len(row) < 2:
            continue
        nearest, second = sorted(range(len(row)), key=lambda index: (row[index], index))[:2]
        if not row[nearest] < ratio**2 * row[second]:
            continue
        column = [each[nearest] for each in distances]
        if not mutual or column.index(min(column)) == query:
            found.append((query, nearest, row[nearest]))
    return found


def as_tuples(matches: Any) -> list[tuple[int, int, int]]:
    squares = np.rint(matches.distance.astype(np.float64) ** 2).astype(int)
    return list(zip(matches.query.tolist(), matches.train.tolist(), squares.tolist(), strict=True))


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("num_train", COUNTS)
def test_matches_are_those_of_pair_by_pair(num_train: int, mutual: bool) -> None:
    for num_queries in (0, 1, 2, 30):
        a = sift_like(num_queries, 1)
        if num_queries > 3:
            a[-1] = a[0]  # two queries for one place
        b = related(a, num_train, 2)
        for ratio in ("0.7", "0.8", "1"):
            found = match(a, b, ratio=float(ratio), mutual=mutual)
            assert as_tuples(found) == plain(a, b, Fraction(ratio), mutual=mutual)


@pytest.mark.parametrize("mutual", [False, True])
def test_many_pictures_at_once_are_matched_as_each_pair_alone(mutual: bool) -> None:
    queries = [sift_like(num, num) for num in (0, 1, 5, 40)]
    train = [related(queries[3], num, 100 + num) for num in (*COUNTS, 40, 500, 1300)]
    found = match_sets(queries, train, ratio=0.8, mutual=mutual)
    total = 0
    for i, a in enumerate(queries):
        for j, b in enumerate(train):
            alone = match(a, b, ratio=0.8, mutual=mutual)
            pair = found.of(i, j)
            for name in ("query", "train", "distance"):
                np.testing.assert_array_equal(getattr(pair, name), getattr(alone, name))
            total += len(alone)
    assert len(found) == total > 100
    counts = found.counts(len(queries), len(train))
    assert counts.shape == (4, len(train))
    assert counts.sum() == total
    assert counts[3, 4] == len(match(queries[3], train[4], ratio=0.8, mutual=mutual))
    order = list(zip(found.query_set.tolist(), found.train_set.tolist(), found.query.tolist(), strict=True))
    assert order == sorted(order)


@pytest.mark.parametrize("num", [1000, 1024, 1025, 2100])
def test_a_picture_of_more_descriptors_than_a_tile_has(num: int) -> None:
    a = sift_like(700, 0)  # more than one tile of queries, too
    b = related(a, num, 1)
    np.random.default_rng(2).shuffle(b)
    distances = squared_distances(a, b)
    two = np.partition(distances, 1, axis=1)[:, :2]
    passes = 25 * two[:, 0] < 16 * two[:, 1]
    expected = list(zip(np.flatnonzero(passes), distances.argmin(axis=1)[passes], two[passes, 0], strict=True))
    assert as_tuples(match(a, b, ratio=0.8)) == [tuple(map(int, each)) for each in expected]
    assert len(expected) > 200


def squared_distances(a: Descriptors, b: Descriptors) -> NDArray[np.int64]:
    x, y = a.astype(np.int64), b.astype(np.int64)
    return (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None, :] - 2 * x @ y.T


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_few_values_with_many_ties(data: st.DataObject) -> None:
    """Descriptors of a few different bytes, extreme ones too, so that equal distances and duplicates are the rule."""
    values = data.draw(st.sampled_from([(0, 255), (0, 1), (128, 127), (0, 3, 4)]))
    seed = data.draw(st.integers(0, 2**32 - 1))
    num_a, num_b, spread = (data.draw(st.integers(0, most)) for most in (12, 40, 128))
    rng = np.random.default_rng(seed)

    def some(num: int) -> Descriptors:
        made = np.full((num, 128), values[0], np.uint8)
        made[:, :spread] = rng.choice(values, (num, spread))
        return made

    a, b = some(num_a), some(num_b)
    mutual, ratio = data.draw(st.booleans()), data.draw(st.sampled_from(["0.7", "0.9", "1"]))
    assert as_tuples(match(a, b, ratio=float(ratio), mutual=mutual)) == plain(a, b, Fraction(ratio), mutual=mutual)


def test_the_border_of_the_ratio_is_no_match() -> None:
    a = np.zeros((1, 128), np.uint8)
    b = np.zeros((2, 128), np.uint8)
    b[0, 0], b[1, 0] = 8, 10  # 8 < ratio * 10
    assert len(match(a, b, ratio=0.8)) == 0  # as floats .8 * .8 * 100 is above 64
    assert len(match(a, b, ratio=0.800001)) == 1
    b[0, 0] = 7
    assert len(match(a, b, ratio=0.7)) == 0
    b[0, 0], b[1, 0] = 9, 9
    assert len(match(a, b, ratio=1)) == 0  # equally near ones are each other's second
    b[0, 0], b[1, 0] = 0, 0
    assert len(match(a, b, ratio=1)) == 0  # also at distance 0


def test_the_farthest_descriptors() -> None:
    a = np.full((2, 128), 255, np.uint8)
    b = np.zeros((3, 128), np.uint8)
    b[1, 0] = 1
    (pair, again) = as_tuples(match(a, b, ratio=1))
    assert pair == (0, 1, 127 * 255**2 + 254**2)
    assert again[1:] == pair[1:]


@pytest.mark.parametrize("mutual", [False, True])
def test_floats_stand_in_for_bytes_that_a_processor_cuts_off(mutual: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same graph as on a GPU, and there with its larger tiles."""
    queries = [sift_like(num, num) for num in (3, 300)]
    train = [related(queries[1], num, num) for num in (*COUNTS, 900, 1500)]
    train.append(np.full((40, 128), 255, np.uint8))
    expected = match_sets(queries, train, ratio=0.8, mutual=mutual)
    assert len(expected) > 100
    assert nearest._is_exact(nearest.searcher("cpu", 2)._session), "bytes were not used: this test shows nothing"
    monkeypatch.setattr(nearest, "_is_exact", lambda session: "floats" in session.get_modelmeta().graph_name)
    for shape in (nearest._SHAPES["cpu"], nearest._GPU_SHAPE):
        monkeypatch.setitem(nearest._SHAPES, "cpu", shape)
        by_floats = nearest.Searcher("cpu", 2)
        assert "floats" in by_floats._session.get_modelmeta().graph_name
        monkeypatch.setattr(matching, "searcher", lambda *_, by_floats=by_floats: by_floats)
        assert_same(match_sets(queries, train, ratio=0.8, mutual=mutual), expected)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(threads: int) -> None:
    queries = [sift_like(700, 0), sift_like(20, 1)]
    train = [related(queries[0], num, num) for num in (5, 300, 512, 1200)]
    assert_same(match_sets(queries, train, threads=threads), match_sets(queries, train, threads=3))


def assert_same(found: SetMatches, expected: SetMatches) -> None:
    for name in ("query_set", "train_set", "query", "train", "distance"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_one_to_many_takes_sets_that_lie_behind_each_other() -> None:
    a = sift_like(50, 0)
    train = [related(a, num, num) for num in (10, 0, 70)]
    together = DescriptorSets.join(train)
    assert_same(match_one_to_many(a, together), match_one_to_many(a, train))
    assert [len(each) for each in map(together.__getitem__, range(3))] == [10, 0, 70]


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 64), np.uint8), np.zeros((2, 128), np.float32), np.zeros(128, np.uint8), [[0] * 128]]
)
def test_other_descriptors_are_refused(bad: Any) -> None:
    good = np.zeros((2, 128), np.uint8)
    for pair in ((bad, good), (good, bad)):
        with pytest.raises(InputError, match=r"uint8 \[K, 128\]"):
            match(*pair)


@pytest.mark.parametrize("offsets", [[0], [0, 3], [1, 2], [0, 2, 1, 2]])
def test_offsets_that_are_none_are_refused(offsets: list[int]) -> None:
    with pytest.raises(InputError, match="offsets must"):
        DescriptorSets(np.zeros((2, 128), np.uint8), np.array(offsets, np.int64))


@pytest.mark.parametrize("ratio", [0, -1, 1.01, float("nan"), float("inf"), True, "0.7", None])
def test_other_ratios_are_refused(ratio: Any) -> None:
    with pytest.raises(InputError, match="ratio must be a number above 0 and at most 1"):
        match(np.zeros((2, 128), np.uint8), np.zeros((2, 128), np.uint8), ratio=ratio)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(BackendError, match="unknown backend 'abacus'"):
        match(np.zeros((2, 128), np.uint8), np.zeros((2, 128), np.uint8), backend="abacus")


def test_score_as_published() -> None:
    assert score(2, 3, 10) == pytest.approx(66.67, abs=0.005)
    assert score(0, 0, 5) == 0
    found = scores(np.array([[2, 0], [1, 3]]), np.array([3, 0]), np.array([10, 5]))
    assert found[0, 0] == score(2, 3, 10)
    assert found[0, 1] == 0


# Real pictures ----------------------------------------------------------------------------------------------------


def by_opencv(a: Descriptors, b: Descriptors, numerator: int, denominator: int) -> list[tuple[int, int, int]]:
    """BFMatcher's pairs of nearest, and the ratio test on the squares of its distances."""
    if len(a) == 0 or len(b) < 2:
        return []
    found = []
    for best, second in cv2.BFMatcher().knnMatch(a.astype(np.float32), b.astype(np.float32), k=2):
        first, other = round(best.distance**2), round(second.distance**2)
        if denominator**2 * first < numerator**2 * other:
            found.append((best.queryIdx, best.trainIdx, first))
    return found


def test_the_matches_of_real_photographs_are_opencv_s(caltech_descriptors: list[Descriptors]) -> None:
    pairs = np.random.default_rng(0).integers(0, len(caltech_descriptors), (1000, 2))
    by_query: dict[int, list[int]] = {}
    for i, j in pairs.tolist():
        by_query.setdefault(i, []).append(j)
    num_matches = 0
    for i, others in by_query.items():
        found = match_one_to_many(caltech_descriptors[i], [caltech_descriptors[j] for j in others], ratio=0.8)
        for place, j in enumerate(others):
            expected = by_opencv(caltech_descriptors[i], caltech_descriptors[j], 4, 5)
            assert as_tuples(found.of(0, place)) == expected
            num_matches += len(expected)
    assert num_matches > 3000


@pytest.mark.parametrize("name", ["graf", "adam", "boat", "BruggeSquare", "Brussels", "city", "WhiteBoard"])
def test_the_matches_of_real_pairs_are_opencv_s(pair: Callable[[str], Pair], name: str) -> None:
    real = pair(name)
    a, b = (extract(path, SiftOptions(max_keypoints=4000)).descriptors for path in (real.a, real.b))
    for left, right in ((a, b), (b, a)):
        for ratio, fraction in ((0.7, (7, 10)), (0.8, (4, 5))):
            assert as_tuples(match(left, right, ratio=ratio)) == by_opencv(left, right, *fraction)


@pytest.mark.parametrize(
    ("name", "share", "num_true"),
    [("graf", 0.65, 440), ("adam", 0.9, 156), ("boat", 0.731, 457), ("city", 0.879, 80), ("WhiteBoard", 0.579, 218)],
)
def test_matches_of_real_pairs_are_true_as_often_as_opencv_s(
    pair: Callable[[str], Pair], name: str, share: float, num_true: int
) -> None:
    """Within 5 pixels of where the homography puts the point, of those that pass at 0.8."""
    real = pair(name)
    a, b = (extract(path, SiftOptions(max_keypoints=None, longest_side=None)) for path in (real.a, real.b))
    found = match(a.descriptors, b.descriptors, ratio=0.8)
    is_true = real.errors(a.points[found.query], b.points[found.train]) < 5
    assert is_true.mean() >= share
    assert is_true.sum() >= num_true


def test_blocks_of_ascending_sets() -> None:
    """`of` finds each pair's matches among all."""
    empty = np.empty(0, np.int64)
    none = SetMatches(empty, empty, empty, empty, np.empty(0, np.float32))
    assert len(none.of(3, 4)) == 0
    assert none.counts(2, 3).tolist() == [[0, 0, 0], [0, 0, 0]]
    found = match_sets([sift_like(9, 0)] * 3, [related(sift_like(9, 0), 12, 5)] * 2)
    lengths = [len(found.of(i, j)) for i in range(3) for j in range(2)]
    assert all(left == right for left, right in pairwise(lengths))
    assert sum(lengths) == len(found)


def test_a_copy_always_matches_whatever_the_ratio() -> None:
    b = sift_like(5, 0)
    assert as_tuples(match(b[2:3], b, ratio=1e-9)) == [(0, 2, 0)]


AFTER_A_FORK = """
import multiprocessing
import numpy as np
from semblance.local.matching import match

a = np.random.default_rng(0).integers(0, 256, (900, 128), dtype=np.uint8)
expected = len(match(a, a, threads=2))

def child():
    assert len(match(a, a, threads=2)) == expected

process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(60)
print(process.exitcode)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_forked_process_has_threads_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", AFTER_A_FORK], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "0"
