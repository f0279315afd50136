"""Two result files compared: what counts as slower, what is worse besides, and what is only told."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records import Results, Writer, read
from bench.report import compare
from bench.report.differences import differences
from tests.bench.test_report_sample import race, rounds, sample


def file_of(path: Path, *records: dict[str, Any], started: str | None = None) -> Results:
    """A result file with these records."""
    writer = Writer.begin(path, profile="quick", threads=2, packages=())
    if started:
        path.write_text(path.read_text().replace(read(path).run["started"], started))
    for each in records:
        writer.append(each)
    return read(path)


def pair(engine_s: float, original_s: float, *, seed: int = 0, num_rounds: int = 5) -> list[dict[str, Any]]:
    """An engine and an original that take so long."""
    rng = np.random.default_rng(seed)
    return [
        race(seconds=rounds(rng, engine_s, num_rounds)),
        race(contender="tensorflow", title="TensorFlow", role="original", backend=None,
             seconds=rounds(rng, original_s, num_rounds)),
    ]  # fmt: skip


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    return compare.main(parser.parse_args([str(each) for each in arguments]))


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_a_file_is_not_worse_than_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sample(tmp_path / "a.jsonl").path
    assert run(path, path) == 0
    found = last_line(capsys)
    assert found["slower"] == found["faster"] == found["worse"] == []
    assert found["num_compared"] > 50
    assert found["compared"] == "ratios to the original"


def test_another_run_of_the_same_is_not_worse(tmp_path: Path) -> None:
    assert run(sample(tmp_path / "a.jsonl").path, sample(tmp_path / "b.jsonl", seed=1).path) == 0


def test_a_slower_engine_is_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = sample(tmp_path / "a.jsonl").path, sample(tmp_path / "b.jsonl", slower=1.4, seed=1).path
    assert run(a, b) == 1
    found = last_line(capsys)
    assert found["is_worse"]
    assert {each["role"] for each in found["slower"]} == {"engine"}
    assert run(b, a) == 0
    assert last_line(capsys)["faster"]
    assert run(a, b, "--suite", "index") == 0


def test_a_slower_machine_is_not(tmp_path: Path) -> None:
    """Both are twice as slow, a neighbour's doing: nothing changed."""
    a = file_of(tmp_path / "a.jsonl", *pair(0.1, 0.5))
    b = file_of(tmp_path / "b.jsonl", *pair(0.2, 1.0, seed=1))
    assert not differences(a, b).is_absolute
    assert run(a.path, b.path) == 0
    assert run(a.path, b.path, "--absolute") == 1


def test_a_ratio_that_fell_is_worse(tmp_path: Path) -> None:
    a = file_of(tmp_path / "a.jsonl", *pair(0.1, 0.5), started="2026-01-01T00:00:00+00:00")
    b = file_of(tmp_path / "b.jsonl", *pair(0.1, 0.3, seed=1))
    found = differences(a, b)
    (only,) = found.changes
    assert only.before.value == pytest.approx(5, rel=0.1)
    assert only.change.value == pytest.approx(0.6, rel=0.1)
    assert run(a.path, b.path) == 1
    assert run(a.path, b.path, "--threshold", ".6") == 0


def test_one_round_proves_nothing(tmp_path: Path) -> None:
    a, b = (file_of(tmp_path / f"{s}.jsonl", *pair(s, 0.5, num_rounds=1)) for s in (0.1, 0.2))
    for is_absolute in (False, True):
        change = differences(a, b, is_absolute=is_absolute).changes[0]
        assert change.change.value < 0.6
        assert not change.is_slower(0.1)
    assert run(a.path, b.path) == run(a.path, b.path, "--absolute") == 0


def test_noise_is_no_slowdown(tmp_path: Path) -> None:
    wild = [[0.05], [0.3], [0.1], [0.4], [0.08]]
    a = file_of(tmp_path / "a.jsonl", race(seconds=wild))
    b = file_of(tmp_path / "b.jsonl", race(seconds=[[1.3 * each[0]] for each in wild]))
    (change,) = differences(a, b, is_absolute=True).changes
    assert change.change.value == pytest.approx(1 / 1.3)
    assert not change.is_slower(0.1)


def test_the_same_original_is_taken_in_both_files(tmp_path: Path) -> None:
    """Before TensorFlow was the fastest, after Keras is: ratios stay to TensorFlow."""
    keras = race(contender="keras_predict", title="Keras", role="original", seconds=[[0.9], [0.9]])
    a = file_of(tmp_path / "a.jsonl", *pair(0.1, 0.5), keras)
    b = file_of(tmp_path / "b.jsonl", *pair(0.1, 0.5, seed=1), keras | {"seconds": [[0.3], [0.3]]})
    found = {each.who: each for each in differences(a, b, is_absolute=False).changes}
    assert found["ONNX Runtime (engine) fp32"].change.value == pytest.approx(1, rel=0.1)
    assert found["Keras fp32"].change.value == pytest.approx(3, rel=0.1)


def test_ratios_to_different_originals_are_not_compared(tmp_path: Path) -> None:
    """Before TensorFlow took part, after only Keras, which is slow: the engine is not the faster for that."""
    engine, tensorflow = pair(0.1, 0.2)
    keras = race(contender="keras_predict", title="Keras", role="original", seconds=[[2.0], [2.0]])
    a = file_of(tmp_path / "a.jsonl", engine, tensorflow)
    b = file_of(tmp_path / "b.jsonl", pair(0.2, 0.2, seed=1)[0], keras)
    found = differences(a, b, is_absolute=False)
    assert found.changes == []
    assert "no original" in found.told[0]
    # with both in one file, and the slower one in the other, ratios are to that one
    c = file_of(tmp_path / "c.jsonl", engine, tensorflow, keras)
    (change,) = differences(c, b, is_absolute=False).changes
    assert change.change.value == pytest.approx(0.5, rel=0.1)


def test_without_an_original_there_is_no_ratio_and_it_is_told(tmp_path: Path) -> None:
    a, b = (file_of(tmp_path / f"{name}.jsonl", race()) for name in "ab")
    found = differences(a, b, is_absolute=False)
    assert found.changes == []
    assert "no original" in found.told[0]


def test_answers_that_became_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = {"measure": "mean cosine", "value": 1.0, "against": "tensorflow", "is_right": True}
    wrong = right | {"value": 0.5, "is_right": False}
    a, b = (file_of(tmp_path / f"{name}.jsonl", race(answers=each)) for name, each in (("a", right), ("b", wrong)))
    assert run(a.path, b.path) == 1
    assert "answers are wrong" in last_line(capsys)["worse"][0]
    assert run(b.path, b.path) == 0
    assert any("as before" in each for each in last_line(capsys)["told"])


def test_contenders_that_vanished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = pair(0.1, 0.5)
    peer = race(contender="ort_plain", title="plain", role="peer")
    absent = {"kind": "absent", "suite": "throughput", "race": "throughput/siamese", "subject": "siamese",
              "contender": "ort_cpu", "precision": "fp32", "reason": "it fell over"}  # fmt: skip
    a = file_of(tmp_path / "a.jsonl", *whole, peer)
    assert run(a.path, file_of(tmp_path / "b.jsonl", *whole).path) == 0
    assert any("plain fp32: not there any more" in each for each in last_line(capsys)["told"])
    assert run(a.path, file_of(tmp_path / "c.jsonl", whole[1], peer, absent).path) == 1
    assert "it fell over" in last_line(capsys)["worse"][0]
    assert run(a.path, file_of(tmp_path / "d.jsonl").path) == 0  # a file of other races, not of fewer contenders
    assert any("1 races" in each for each in last_line(capsys)["told"])


def test_precision_that_fell_and_claims_that_do_not_hold(tmp_path: Path) -> None:
    def found(precision: float) -> dict[str, Any]:
        return {"kind": "retrieval", "row": 2, "original": "siamese", "weights": "shipped", "data": "Fashion-MNIST",
                "protocol": "leave one out", "runtime": "ONNX Runtime", "precision": "int8", "search": "exact",
                "backend": "cpu", "metric": "cos", "num_queries": 10, "num_gallery": 9,
                "at_k": {"10": {"precision": precision}}}  # fmt: skip

    def claim(holds: bool) -> dict[str, Any]:
        return {"kind": "check", "claim": "5 ms are 5 ms", "found": "5 ms", "holds": holds}

    a = file_of(tmp_path / "a.jsonl", found(0.9), claim(True))
    assert run(a.path, file_of(tmp_path / "b.jsonl", found(0.8951), claim(True)).path) == 0
    assert run(a.path, file_of(tmp_path / "c.jsonl", found(0.8949), claim(True)).path) == 1
    assert run(a.path, file_of(tmp_path / "d.jsonl", found(0.9), claim(False)).path) == 1


@pytest.mark.parametrize("arguments", [["a"], ["a", "b", "--threshold", "2"], ["a", "b", "--suite", "none"]])
def test_wrong_command_lines_are_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
