"""Splits, votes and accuracies as they are said to be, and the whole row on a tiny model and drawn vectors."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from bench.originals import linear_probe
from bench.originals.linear_probe import (
    LOGISTIC,
    SVM,
    class_mean_accuracy,
    draw_split,
    measure,
    probe,
    vote,
)
from bench.originals.photographs import Embedded, retrieval_record
from bench.records import KINDS, Record
from semblance.errors import InputError


def test_a_class_gives_thirty_or_half() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [2, 30, 31, 45]))
    split = draw_split(labels, seed=1)
    assert np.bincount(labels[split.train]).tolist() == [1, 15, 30, 30]
    assert sorted([*split.train.tolist(), *split.test.tolist()]) == list(range(108))
    np.testing.assert_array_equal(draw_split(labels, seed=1).train, split.train)
    assert draw_split(labels, seed=2).train.tolist() != split.train.tolist()
    with pytest.raises(InputError, match="class 7 has one picture"):
        draw_split(np.array([0, 0, 7]))


def test_accuracy_is_the_mean_over_classes_not_over_pictures() -> None:
    labels = np.array([0] * 8 + [1] * 2)
    assert class_mean_accuracy(np.zeros(10, np.int64), labels) == 0.5
    assert class_mean_accuracy(labels, labels) == 1.0


def test_votes_are_counted_and_ties_go_to_the_nearest() -> None:
    assert vote(np.array([[1, 2, 2], [3, 1, 2], [4, 5, 5], [7, 7, 7]])).tolist() == [2, 3, 5, 7]
    generator = np.random.default_rng(0)
    neighbours = generator.integers(0, 4, (200, 5))
    for row, got in zip(neighbours.tolist(), vote(neighbours).tolist(), strict=True):
        counts = Counter(row)
        most = max(counts.values())
        assert got == next(label for label in row if counts[label] == most)


def _drawn(spread: float) -> Embedded:
    """Six classes of 20, around centres, of which three coordinates are a thousand times as long and say nothing."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 20)
    vectors = generator.normal(0, 1, (6, 12))[labels] + generator.normal(0, spread, (120, 12))
    vectors[:, :3] = generator.normal(0, 1000, (120, 3))
    return Embedded(vectors.astype(np.float32), labels, tuple("abcdef"), tuple(map(str, range(120))))


def test_linear_classifiers_see_through_a_scale_that_neighbours_do_not() -> None:
    drawn = _drawn(0.3)
    found = {each.classifier: each for each in probe(drawn.vectors, drawn.labels, [draw_split(drawn.labels)])}
    assert set(found) == {LOGISTIC, SVM, "1 nearest", "5 nearest"}
    assert found[LOGISTIC].mean > 0.9
    assert found[SVM].mean > 0.9
    assert found["1 nearest"].mean < 0.6
    assert found[LOGISTIC].chosen_c[0] in linear_probe._CS[LOGISTIC]
    assert found["1 nearest"].chosen_c == ()


def _crossed() -> Embedded:
    """Two classes, each in two opposite corners: no line parts them, and neighbours do."""
    corners = np.array([[4, 4], [-4, -4], [4, -4], [-4, 4]])[np.repeat(np.arange(4), 30)]
    vectors = (corners + np.random.default_rng(0).normal(0, 0.3, (120, 2))).astype(np.float32)
    return Embedded(vectors, np.repeat([0, 1], 60), ("a", "b"), tuple(map(str, range(120))))


@pytest.mark.parametrize(("embedded", "holds"), [(_drawn(0.3), True), (_crossed(), False)])
def test_the_row_is_emitted(tiny_model: Any, embedded: Embedded, holds: bool) -> None:
    records: list[Record] = []

    def embed(*_: Any, **__: Any) -> Embedded:
        return embedded

    probes = measure(quick=True, emit=records.append, model=str(tiny_model.path), place="drawn", embed=embed)
    retrieval, check = records
    assert {each["kind"] for each in records} <= set(KINDS)
    assert (retrieval["row"], retrieval["num_queries"], retrieval["protocol"]) == (7, 120, "leave-one-out")
    assert set(retrieval["at_k"]) >= {"1", "10", "50"}
    assert check["holds"] is holds
    assert [each["classifier"] for each in check["found"]["probes"]] == [each.classifier for each in probes]
    assert all(len(each.accuracies) == 1 for each in probes)
    with pytest.raises(InputError, match="at least one split"):
        measure(quick=True, emit=records.append, model=str(tiny_model.path), place="drawn", num_splits=0, embed=embed)


def test_what_is_not_here_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.images.find_photographs", lambda: None)
    records: list[Record] = []
    assert measure(quick=True, emit=records.append) == []
    (record,) = records
    assert (record["kind"], record["race"]) == ("absent", "row 7")
    assert "photographs are not on this machine" in record["reason"]


def test_more_classes_than_a_byte_counts_are_told_apart() -> None:
    """Two pictures of each of 300 classes, each pair by itself: all is found, and class 256 is not class 0."""
    labels = np.repeat(np.arange(300), 2)
    angles = labels / 300 * np.pi
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    record = retrieval_record(vectors, labels, metric="l2sq")
    assert (record["at_k"]["1"]["recall"], record["at_k"]["1"]["f1"], record["map"]) == (1, 1, 1)
