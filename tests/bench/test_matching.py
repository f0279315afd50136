"""Contenders give the same matches, ours are checked before anything is timed, and the shortest real run.

How fast each is depends on the machine and on what else it does, so that no time is asserted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.contenders import Asked, find
from bench.matching import (
    CONTENDERS,
    OURS,
    REFERENCE,
    check,
    equal_share,
    in_rounds,
    many_photographs,
    prepared,
    triples,
    two_photographs,
)
from semblance.errors import InputError, SemblanceError

TITLES = [find("matching", name).TITLE for name in CONTENDERS]


@pytest.mark.parametrize("num", [1, 3])
def test_contenders_match_alike(sift_pairs_dir: Path, num: int) -> None:
    (workload,) = two_photographs([600])
    found = {}
    for name in TITLES:
        loaded = find("matching", CONTENDERS[TITLES.index(name)]).load(Asked(1))
        run = prepared(loaded, replace(workload, train=workload.train * num))
        found[name] = triples(loaded, run())
        assert triples(loaded, run()) == found[name] or name == "cv2.FlannBasedMatcher"
    assert len(found[REFERENCE]) >= 5 * num
    assert {picture for picture, _, _ in found[REFERENCE]} == set(range(num))
    assert found[OURS] == found[REFERENCE]
    assert equal_share(found["faiss IndexFlatL2"], found[REFERENCE]) > 0.95
    assert equal_share(found["cv2.FlannBasedMatcher"], found[REFERENCE]) > 0.5


def test_every_picture_has_as_many_descriptors(caltech_dir: Path) -> None:
    workload = many_photographs(6)
    assert len(workload.query) == 500
    assert [len(each) for each in workload.train] == [512] * 6
    assert "6 pictures of 512" in workload.title


def test_more_descriptors_than_there_are_cannot_be_asked_for(sift_pairs_dir: Path) -> None:
    with pytest.raises(InputError, match="ask for no more"):
        two_photographs([750, 1_000_000])


def test_other_matches_are_an_error() -> None:
    check("any", {(0, 1, 2)}, {(0, 1, 2)})
    with pytest.raises(SemblanceError, match="2 are missing and 1 are too many"):
        check("any", {(0, 1, 2), (0, 9, 9)}, {(0, 1, 2), (0, 1, 3), (0, 5, 5)})
    assert equal_share({(0, 1, 2), (0, 9, 9)}, {(0, 1, 2), (0, 1, 3), (0, 5, 5)}) == 1 / 4
    assert equal_share(set(), set()) == 1.0


def test_each_round_begins_with_another() -> None:
    called: list[str] = []
    times = in_rounds({name: lambda name=name: called.append(name) for name in "abc"}, 3, warm_up=False)
    assert called == list("abcbcacab")
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3, "c": 3}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.matching", *arguments]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def printed(sift_pairs_dir: Path, caltech_dir: Path, fashion_mnist_dir: Path) -> str:
    ended = run("--sizes", "100", "200", "--pictures", "3", "--extract", "300", "--rounds", "2", "--threads", "1")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_last_line_has_all_times(printed: str) -> None:
    document: Any = json.loads(printed.splitlines()[-1])
    assert list(document) == ["machine", "threads", "rounds", "matching", "extraction"]
    assert {"faiss-cpu", "opencv-python-headless", "onnxruntime"} <= set(document["machine"]["versions"])
    assert [row["num_query"] for row in document["matching"]] == [100, 200, 500]
    assert [len(row["num_train"]) for row in document["matching"]] == [1, 1, 3]
    for row in document["matching"]:
        assert list(row["contenders"]) == TITLES
        assert all(len(each["times_ms"]) >= 2 for each in row["contenders"].values())
        assert row["contenders"][OURS]["equal_share"] == row["contenders"][OURS]["times_our_time"] == 1.0
        ours, theirs = (row["contenders"][name]["median_ms"] for name in (OURS, REFERENCE))
        assert row["contenders"][REFERENCE]["times_our_time"] == pytest.approx(theirs / ours)
    extraction = document["extraction"]
    assert extraction["num_images"] == 300
    rates = extraction["images_per_sec"]
    assert extraction["two_workers_to_one"] == pytest.approx(rates["2"] / rates["1"])


def test_the_tables_name_every_contender(printed: str) -> None:
    table = "\n".join(printed.splitlines()[:-1])
    assert all(table.count(name) == 3 for name in TITLES)


@pytest.mark.parametrize("wrong", [("--sizes", "0"), ("--pictures", "1"), ("--extract", "-1"), ("--threads", "0")])
def test_numbers_that_make_no_sense_are_usage_errors(wrong: tuple[str, str]) -> None:
    assert run(*wrong).returncode == 2
