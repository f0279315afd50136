"""Altered photographs: seeded, usable, and found again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.rerank import altered, same_photographs
from export.images import encoded_photographs
from semblance.inputs.decode import decode


@pytest.fixture(scope="module")
def photograph(caltech_dir: Path) -> bytes:
    return next(encoded for _, encoded in encoded_photographs(next(caltech_dir.glob("*.tar")), 1))


def test_the_same_seed_alters_alike_and_another_otherwise(photograph: bytes) -> None:
    first, again, other = (altered(photograph, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("seed", range(8))
def test_what_is_altered_is_a_picture_of_a_size_that_was_asked_for(photograph: bytes, seed: int) -> None:
    whole = decode(photograph, channels=3)
    part = decode(altered(photograph, np.random.default_rng(seed)), channels=3)
    for old, new in zip(whole.shape[:2], part.shape[:2], strict=True):
        assert 0.5 * 0.6 * old - 2 <= new <= 1.5 * 0.95 * old + 2


def test_the_command_measures_a_gallery_that_is_given(tmp_path: Path, photograph: bytes) -> None:
    from semblance.inference.encoder import Encoder
    from semblance.local.sift import SiftOptions
    from semblance.search import Gallery

    (tmp_path / "pictures").mkdir()
    for number in range(3):
        (tmp_path / "pictures" / f"{number}.jpg").write_bytes(photograph)
    Gallery.build(tmp_path / "pictures", Encoder.load("siamese"), tmp_path / "g", sift=SiftOptions(max_keypoints=50))
    command = [sys.executable, "-m", "bench.rerank", "siamese", "--gallery", str(tmp_path / "g"), "--queries", "2"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["queries"], result["gallery"]) == (2, 3)
    assert result["recall_at_1_either"].keys() == result["recall_at_1"].keys()


def test_a_photograph_that_is_there_twice_counts_as_one() -> None:
    uris = ["c/Faces/1.jpg", "c/Faces/2.jpg", "c/Faces_easy/1.jpg", "c/ant/1.jpg"]
    assert same_photographs(uris, np.array([3, 5, 8, 9])).tolist() == [3, 5, 3, 9]
