"""The command trains, writes weights that open again and a curve, and measures as a plain loop would."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from models import train
from models.train import leave_one_out, main
from models.weights import open_original


def _leave_one_out_by_hand(
    vectors: NDArray[np.float32], labels: NDArray[np.uint8], k: int, rows: range
) -> list[list[bool]]:
    hits = []
    for i in rows:
        others = [j for j in range(len(vectors)) if j != i]
        nearest = sorted(others, key=lambda j: ((vectors[i] - vectors[j]) ** 2).sum())[:k]
        hits.append([bool(labels[j] == labels[i]) for j in nearest])
    return hits


@pytest.mark.parametrize("number", [3, 50, 1203])
def test_leave_one_out_is_the_loop_by_hand(number: int) -> None:
    generator = np.random.default_rng(number)
    vectors = generator.integers(-40, 40, (number, 6)).astype(np.float32)  # whole numbers: distances are exact
    vectors[1] = vectors[0]
    labels = generator.integers(0, 3, number, np.uint8)
    rows = range(max(0, number - 60), number)
    expected = _leave_one_out_by_hand(vectors, labels, 2, rows)
    np.testing.assert_array_equal(leave_one_out(vectors, labels, k=2, metric="l2sq")[rows.start :], expected)


def test_command_writes_weights_without_optimizer_and_a_curve(
    fashion_mnist_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train.fashion_mnist
    monkeypatch.setattr(train, "fashion_mnist", lambda split: tuple(array[:600] for array in whole(split)))
    monkeypatch.setenv("SEMBLANCE_DATA", "")
    out = tmp_path / "new" / "short.weights.h5"
    arguments = ["siamese", "--epochs", "2", "--out", str(out), "--precision", "float32", "--seed", "3"]
    assert main([*arguments, "--data", str(fashion_mnist_dir.parent)]) == 0
    printed = capsys.readouterr().out
    assert "P@5" in printed
    assert open_original("siamese", out).weights_sha256 in printed
    with h5py.File(out) as file:
        assert not [name for name in file if "optimizer" in name]
    assert (tmp_path / "new" / "short.loss.png").read_bytes().startswith(b"\x89PNG")


def test_output_that_keras_cannot_write_is_told_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["siamese", "--out", str(tmp_path / "weights.bin")]) == 1
    assert "end in .weights.h5" in capsys.readouterr().err
