"""The baseline learns from nothing, by the command, and takes any size that pooling leaves something of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.cnn import network
from models.facts import read_facts
from models.train import main


def test_the_command_trains_it(picture_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.keras"
    arguments = ["cnn", str(picture_folder), "--size", "16", "--epochs", "25", "--batch", "6", "--features", "16",
                 "--dropout", "0", "--lr", "0.003", "--patience", "25", "--out", str(out)]  # fmt: skip
    assert main(arguments) == 0
    facts = read_facts(out)
    assert (facts.kind, facts.base, facts.size, facts.preprocess) == ("cnn", "cnn", 16, "rescale-255")
    assert facts.figures["validation accuracy"] == pytest.approx(max(facts.curves["validation accuracy"]))
    assert facts.figures["validation accuracy"] > 0.5, "three colours are more than guessed at"
    assert facts.curves["loss"][-1] < facts.curves["loss"][0]
    assert out.with_suffix(".png").is_file()


@pytest.mark.parametrize(("size", "channels"), [(8, 3), (28, 1)])
def test_it_gives_shares_of_classes(size: int, channels: int) -> None:
    shares = network(size, 5, channels=channels).predict(np.ones((2, size, size, channels), np.float32), verbose=0)
    assert shares.shape == (2, 5)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)


def test_a_size_that_pooling_leaves_nothing_of_is_told(
    picture_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cnn", str(picture_folder), "--size", "4"]) == 1
    assert "--size must be at least 8" in capsys.readouterr().err
