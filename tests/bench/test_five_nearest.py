"""Both runtimes' neighbours against plain loops, queries from inside and outside, and the command as it is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bench.originals.five_nearest import Both, ask, by_engine, by_scikit_learn, features, shared
from semblance.errors import InputError, ModelNotFound

VECTORS = np.random.default_rng(0).normal(0, 1, (60, 8)).astype(np.float32)


def _by_hand(query: int, gallery: list[int], k: int) -> list[int]:
    def distance(row: int) -> float:
        a, b = VECTORS[query].astype(np.float64), VECTORS[row].astype(np.float64)
        return float(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    return sorted((row for row in gallery if row != query), key=distance)[:k]


def test_both_find_what_a_loop_finds() -> None:
    own = np.arange(60)
    expected = [_by_hand(query, list(range(60)), 5) for query in range(60)]
    ours, distances = by_engine(VECTORS, VECTORS, k=5, own=own)
    assert ours.tolist() == expected
    assert by_scikit_learn(VECTORS, VECTORS, k=5, own=own).tolist() == expected
    assert (np.diff(distances, axis=1) >= 0).all()


def test_shared_counts_the_same_in_any_order() -> None:
    assert shared(np.array([[1, 2, 3, 4]]), np.array([[4, 3, 2, 1]])) == 1.0
    assert shared(np.array([[1, 2, 3, 4], [1, 2, 3, 4]]), np.array([[1, 2, 7, 8], [5, 6, 7, 8]])) == 0.25


def test_queries_may_be_of_the_gallery_or_not(tiny_model: Any) -> None:
    own = np.array([3, 55])
    found = ask(Both(tiny_model.card, VECTORS, VECTORS), own, list(map(str, range(60))), num_gallery=50, k=5)
    assert found.queries == ("3", "55")
    assert found.rows.tolist() == [_by_hand(query, list(range(50)), 5) for query in (3, 55)]
    assert found.shared == 1.0
    noise = np.random.default_rng(1).normal(0, 1, VECTORS.shape).astype(np.float32)
    other = ask(Both(tiny_model.card, VECTORS, noise), own, list(map(str, range(60))), num_gallery=50, k=5)
    assert other.shared is not None
    assert other.shared < 0.7, "other features find others"
    assert ask(Both(tiny_model.card, VECTORS, None), own, list(map(str, range(60))), num_gallery=50, k=5).shared is None
    with pytest.raises(InputError, match=r"-k must lie in 1..49"):
        ask(Both(tiny_model.card, VECTORS, None), own, list(map(str, range(60))), num_gallery=50, k=50)


def test_any_network_of_keras_gives_the_same_neighbours_in_both_runtimes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caltech_dir: Path
) -> None:
    from bench import photographs

    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path))

    def read(card: Any) -> Any:
        return np.stack([cv2.resize(cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR)[..., ::-1],
                                    (card.width, card.height)) for each in photographs(24)])  # fmt: skip

    both = features("MobileNetV2", read, weights="random", alpha=0.35)
    assert both.tensorflow is not None
    own = np.arange(24)
    ours, _ = by_engine(both.onnx, both.onnx, k=5, own=own)
    assert shared(ours, by_scikit_learn(both.tensorflow, both.tensorflow, k=5, own=own)) > 0.98
    with pytest.raises(ModelNotFound, match="unknown backbone 'nosuch'"):
        features("nosuch", read)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    generator = np.random.default_rng(0)
    for name, level in (("dark", 30), ("light", 220)):
        (folder / name).mkdir(parents=True)
        for i in range(6):
            image = np.clip(level + generator.integers(-25, 25, (8, 8)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / name / f"{i}.png"), image)
    cv2.imwrite(str(tmp_path / "query.png"), np.full((8, 8), 215, np.uint8))
    return folder


def _run(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.originals.five_nearest", *arguments]
    environment = {**os.environ, "SEMBLANCE_HOME": str(home)}
    return subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, env=environment
    )


def test_it_is_run_on_an_exported_file(tiny_model: Any, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.png"
    ended = _run(
        str(tiny_model.path), "--images", str(pictures), "--queries", str(tmp_path / "query.png"), "--random", "2",
        "-k", "3", "--out", str(out), home=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout.splitlines()[-1])
    assert document["shared_with_tensorflow"] is None
    *inside, outside = document["queries"]
    assert len(inside) == 2
    assert all(each["uri"] not in each["nearest"] and len(each["nearest"]) == 3 for each in inside)
    assert outside["uri"].endswith("query.png")
    assert cv2.imread(str(out)).shape[0] > 3 * 140


def test_mistakes_are_one_line(tiny_model: Any, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    base = [str(tiny_model.path), "--images", str(pictures)]
    for arguments, message in (
        ([*base, "--queries", str(tmp_path / "broken.png")], "not an image"),
        ([*base, "--random", "2", "-k", "12"], "-k must lie in 1..11"),
    ):
        ended = _run(*arguments, home=tmp_path)
        assert ended.returncode == 1
        *_, line = ended.stderr.splitlines()
        assert line.startswith("error: ")
        assert message in line
    assert _run(*base, home=tmp_path).returncode == 2
