"""The figures against plain loops, and what does not pass."""

from __future__ import annotations

import re

import numpy as np
import pytest

from export.gate import MOST_LOST, Gate, GateError, Judge, cosines
from semblance.errors import InputError

rng = np.random.default_rng(0)


def _clusters(num: int = 120, *, noise: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    kinds = np.arange(num) % 3
    vectors = np.eye(8)[kinds] + noise * rng.normal(size=(num, 8))
    return vectors.astype(np.float32), kinds.astype(str)


def _plain_neighbours(vectors: np.ndarray, metric: str) -> np.ndarray:
    exact = vectors.astype(np.float64)
    if metric == "cos":
        exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    distances = np.square(exact[:, None] - exact).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1, kind="stable")[:, :10]


@pytest.mark.parametrize("metric", ["cos", "l2sq"])
def test_figures_are_those_of_plain_loops(metric):
    reference, labels = _clusters()
    variant = (reference + 0.1 * rng.normal(size=reference.shape)).astype(np.float32)
    gate = Judge(reference, labels, metric=metric, images="clusters").measure(variant, backend="numpy")
    ours, theirs = _plain_neighbours(variant, metric), _plain_neighbours(reference, metric)
    assert gate.p_at_1 == pytest.approx(np.mean(labels[ours[:, 0]] == labels))
    assert gate.p_at_10 == pytest.approx(np.mean(labels[ours] == labels[:, None]))
    assert gate.p_at_10_fp32 == pytest.approx(np.mean(labels[theirs] == labels[:, None]))
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(ours, theirs, strict=True)]
    assert gate.overlap_at_10 == pytest.approx(np.mean(shared))
    cosine = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(variant, reference, strict=True)]
    assert gate.mean_cosine == pytest.approx(np.mean(cosine))
    assert gate.min_cosine == pytest.approx(np.min(cosine))
    assert (gate.images, gate.num_images, gate.backend) == ("clusters", 120, "numpy")
    others = [np.mean(np.delete(labels, row) == label) for row, label in enumerate(labels)]
    assert gate.chance == pytest.approx(np.mean(others))
    lost = (labels[theirs] == labels[:, None]).mean(axis=1) - (labels[ours] == labels[:, None]).mean(axis=1)  # [N]
    assert gate.lost_error == pytest.approx(np.std(lost) / np.sqrt(120))


def test_equal_vectors_pass_and_noise_does_not():
    reference, labels = _clusters()
    judge = Judge(reference, labels, metric="cos", images="")
    same = judge.measure(reference, backend="")
    assert (same.lost_p_at_10, same.overlap_at_10, same.passed) == (0, 1, True)
    assert not judge.measure(rng.normal(size=reference.shape).astype(np.float32), backend="").passed
    assert not judge.measure(np.zeros_like(reference), backend="").passed


def _gate(**figures) -> Gate:
    return Gate(**{
        "images": "", "num_images": 1000, "backend": "", "chance": 0.1, "p_at_1_fp32": 0.9, "p_at_1": 0.1,
        "p_at_10_fp32": 0.8, "p_at_10": 0.8, "lost_error": 0.001, "overlap_at_10": 0, "mean_cosine": 0, "min_cosine": 0,
    } | figures)  # fmt: skip


@pytest.mark.parametrize(
    ("figures", "warned"),
    [
        ({}, ""),
        ({"chance": 0.74}, ""),
        ({"chance": 0.76}, "noise .* would lose 0.0400"),
        ({"chance": 0.9}, "noise .* would lose 0.0000"),
        ({"lost_error": 0.0024}, ""),
        ({"lost_error": 0.003}, "1,000 images are too few"),
    ],
)
def test_where_passing_says_little_it_passes_and_says_so(figures, warned):
    gate = _gate(**figures)
    assert gate.passed
    assert re.search(warned, gate.warning) if warned else gate.warning == ""
    card = gate.as_card(forced=False)
    assert (card["chance"], card["warning"]) == (gate.chance, gate.warning)


def test_noise_that_passes_is_warned_of():
    """Embeddings that know nothing of the labels lose nothing when they are replaced by others that do not."""
    labels = (np.arange(400) % 4).astype(str)
    first, second = rng.normal(size=(2, 400, 8)).astype(np.float32)
    gate = Judge(first, labels, metric="cos", images="").measure(second, backend="")
    assert gate.lost_p_at_10 < 0.05
    assert "hardly above chance" in gate.warning


@pytest.mark.parametrize(("lost", "passed"), [(-0.1, True), (0.0049, True), (0.0051, False), (0.5, False)])
def test_what_may_be_lost(lost, passed):
    gate = _gate(p_at_10=0.8 - lost)
    assert MOST_LOST == 0.005
    assert gate.passed is passed
    card = gate.as_card(forced=not passed)
    assert card["passed"] is passed
    assert card["forced"] is not passed
    assert card["lost_p_at_10"] == pytest.approx(lost)
    assert {type(value) for value in card.values()} <= {str, int, float, bool}


def test_what_cannot_be_judged():
    reference, labels = _clusters()
    with pytest.raises(GateError, match="fp32 file gives"):
        Judge(reference * np.nan, labels, metric="cos", images="")
    with pytest.raises(InputError, match="unlike: no image"):
        Judge(reference, np.arange(len(labels)).astype(str), metric="cos", images="unlike")
    judge = Judge(reference, labels, metric="cos", images="")
    with pytest.raises(GateError, match="not finite"):
        judge.measure(reference * np.inf, backend="")
    with pytest.raises(GateError, match=r"\[120, 4\].*\[120, 8\]"):
        judge.measure(reference[:, :4], backend="")


def test_cosines_in_parts_are_the_same(monkeypatch):
    first, second = rng.normal(size=(2, 10, 4)).astype(np.float32)
    whole = cosines(first, second)
    monkeypatch.setattr("export.gate._FLOATS_AT_ONCE", 12)
    np.testing.assert_array_equal(cosines(first, second), whole)
    assert len(whole) == 10
    assert len(cosines(first[:0], second[:0])) == 0


def test_cosines_of_zero_vectors():
    zero, one = np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)
    assert [cosines(zero, zero)[0], cosines(zero, one)[0], cosines(one, one)[0]] == [1, 0, pytest.approx(1)]
