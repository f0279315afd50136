"""The comparison of indexes as a command, on as few vectors as it takes: what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.index import APPROXIMATE, EXACT, SINGLE_CALLS, K
from bench.neighbours import clustered, plain_search, recall


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.index", "--rows", "300", "--dimension", "16", "--queries", "60", *arguments]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("arguments", "names"), [((), APPROXIMATE), (("--exact",), EXACT)])
def test_the_last_line_has_every_contender_and_all_its_times(arguments: tuple[str, ...], names: dict[str, str]) -> None:
    ended = run("--rounds", "2", "--threads", "1", *arguments)
    assert ended.returncode == 0, ended.stderr
    document: Any = json.loads(ended.stdout.splitlines()[-1])
    assert (document["rows"], document["dimension"], document["queries"], document["threads"]) == (300, 16, 60, 1)
    assert list(document["contenders"]) == list(names)
    for figures in document["contenders"].values():
        assert figures["recall_at_10"] > 0.95
        assert len(figures["batch_s"]) == 2
        assert len(figures["single_ms"]) == 2 * SINGLE_CALLS
        assert figures["build_s"] > 0
    first, *_, last = names
    ours, theirs = (document["contenders"][name]["queries_per_sec"] for name in (first, last))
    assert document["ratios"][first][last] == pytest.approx(ours / theirs)
    assert all(ended.stdout.count(f" {name} ") for name in names)


@pytest.mark.parametrize("wrong", [("--rows", str(K - 1)), ("--threads", "0"), ("--rounds", "0")])
def test_numbers_that_make_no_sense_are_usage_errors(wrong: tuple[str, str]) -> None:
    assert run(*wrong).returncode == 2


def test_made_up_vectors_have_neighbours_and_one_seed_gives_the_same() -> None:
    vectors = clustered(2000, 32, seed=0)
    assert (clustered(2000, 32, seed=0) == vectors).all()
    assert not (clustered(2000, 32, seed=1) == vectors).any()
    truth = plain_search(vectors[:50], vectors, 3)
    assert recall(truth, truth[:, ::-1]) == 1.0
    assert all(row in found for row, found in enumerate(truth.tolist()))  # each is its own nearest
