"""The benchmark of the first requests: its sizes, its ratio, and one real run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from bench.buckets import _sizes, worst


def test_the_worst_is_to_the_median_of_its_own_bucket() -> None:
    assert worst([1, 1, 1, 4, 4, 4], [1.0, 1.0, 2.5, 10.0, 11.0, 10.0]) == (2.5, 2)
    assert worst([8], [3.0]) == (1.0, 0)


def test_sizes_reach_from_one_to_the_largest() -> None:
    sizes = _sizes(32, 500, np.random.default_rng(0))
    assert (min(sizes), max(sizes)) == (1, 32)
    assert sum(size <= 4 for size in sizes) > 100


def test_the_command_measures_with_and_without_a_warm_up() -> None:
    command = [sys.executable, "-m", "bench.buckets", "autoencoder", "--backends", "cpu", "--requests", "12"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])["results"]
    assert [each["is_warmed"] for each in results] == [True, False]
    assert [step["bucket"] for step in results[0]["warm_up"]] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert all(len(each["took_ms"]) == 12 for each in results)
