"""The published scores exactly, the ranking beside one worked out pair by pair, and the command as it is run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bench.lowe import CLASSES, PUBLISHED, Reproduced, ranked, represent, reproduce, retrieve, sheet
from semblance.inputs.datasets import fashion_mnist


@pytest.fixture(scope="module")
def train(fashion_mnist_dir: Path) -> Any:
    return fashion_mnist("train")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.lowe", *arguments]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)


def test_the_published_scores_come_out_exactly(train: Any) -> None:
    found = {row.pair: row.found for row in reproduce(train[0])}
    assert found == {(10, 1): (66.67, 2), (20, 1): (0, 0), (0, 1): (20, 1), (10, 10): (100, 3), (20, 20): (100, 2)}
    assert found == PUBLISHED
    assert all(row.is_equal for row in reproduce(train[0]))


def test_another_score_or_number_of_matches_is_told() -> None:
    assert Reproduced((10, 1), (66.67, 2), (66.67, 2)).is_equal
    assert not Reproduced((10, 1), (66.67, 2), (66.67, 4)).is_equal
    assert not Reproduced((10, 1), (66.67, 2), (66.66, 2)).is_equal


def by_opencv(a: Any, b: Any) -> tuple[float, int]:
    """Score and number of matches of two pictures, as they were published."""
    sift = cv2.SIFT.create()
    (_, first), (_, second) = (sift.detectAndCompute(image, None) for image in (a, b))
    if first is None or second is None or len(second) < 2:
        return 0.0, 0
    num = sum(m.distance < 0.7 * n.distance for m, n in cv2.BFMatcher().knnMatch(first, second, k=2))
    return 100 * num / min(len(first), len(second)), num


def test_representatives_are_the_first_of_each_class(train: Any) -> None:
    images, labels = train
    found = represent(images, labels)
    assert labels[found.images].tolist() == list(range(10))
    assert found.images.tolist() == [labels.tolist().index(label) for label in range(10)]
    assert len(set(found.others.tolist())) == 10
    for label in (0, 2, 8):
        for column, other in enumerate(found.others):
            score, num = by_opencv(images[found.images[label]], images[other])
            assert found.scores[label, column] == pytest.approx(score)
            assert found.num_matches[label, column] == num
    again, others = represent(images, labels), represent(images, labels, seed=1)
    np.testing.assert_array_equal(again.others, found.others)
    assert others.others.tolist() != found.others.tolist()
    drawn = sheet(images, labels, found)
    assert drawn.dtype == np.uint8
    assert len(drawn) > 10 * 130


def test_ties_go_by_the_number_of_matches_and_then_by_the_lower_number() -> None:
    scores = np.array([[0, 50, 50, 100, 0, 50], [0, 0, 0, 0, 0, 0]], np.float64)
    counts = np.array([[0, 1, 2, 1, 0, 1], [0, 0, 0, 0, 0, 0]])
    assert ranked(scores, counts, np.array([0, 2])).tolist() == [[3, 2, 1, 5, 4], [0, 1, 3, 4, 5]]


def test_retrieval_is_that_of_all_pairs_one_by_one(fashion_mnist_dir: Path) -> None:
    images, labels = (each[:40] for each in fashion_mnist("test"))
    right_at_1, right_at_5, num_without = 0, 0, 0
    for query in range(40):
        others = [(*by_opencv(images[query], images[other]), other) for other in range(40) if other != query]
        order = sorted(others, key=lambda each: (-each[0], -each[1], each[2]))
        right = [labels[other] == labels[query] for _, _, other in order[:5]]
        right_at_1, right_at_5 = right_at_1 + right[0], right_at_5 + sum(right)
        num_without += order[0][1] == 0
    found = retrieve(images, labels)
    assert found.precision_at_1 == pytest.approx(right_at_1 / 40)
    assert found.precision_at_5 == pytest.approx(right_at_5 / 200)
    assert found.num_without_match == num_without
    assert found.num_images == 40
    assert retrieve(images, labels, mutual=True).is_mutual


def test_it_is_run_with_a_picture_and_retrieval(train: Any, tmp_path: Path) -> None:
    ended = run("--out", str(tmp_path / "scores.png"), "--retrieval", "50", "--seed", "3")
    assert ended.returncode == 0, ended.stderr
    *table, last = ended.stdout.splitlines()
    document = json.loads(last)
    assert [row["is_equal"] for row in document["reproduced"]] == [True] * 5
    assert np.array(document["representatives"]["scores"]).shape == (10, 10)
    assert document["retrieval"]["num_images"] == 50
    assert all(any(name in line for line in table) for name in CLASSES)
    drawn = cv2.imread(str(tmp_path / "scores.png"))
    assert drawn is not None


def test_mistakes_are_one_line(train: Any) -> None:
    for number in ("5", "10001"):
        ended = run("--retrieval", number)
        assert ended.returncode == 1
        assert ended.stderr.splitlines() == [f"error: --retrieval must lie in 6..10000, is {number}"]
    assert run("--seed", "-1").returncode == 2
