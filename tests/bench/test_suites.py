"""The races under pytest-benchmark: what it is shown, what goes into the result file, and that wrong answers fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.contenders.known.sleeps_5_ms import TAKES_S
from bench.suites.conftest import Replay
from semblance.inference.models import zoo_folder

ROOT = Path(__file__).parents[2]
SUITE = f"""
from functools import partial
import numpy as np
from bench.answers import mean_cosine
from bench.entries import entry
from bench.racing import Entry, Judge, Planned, Workload
from pathlib import Path

def planned(plan):
    engine = entry(Path({str(zoo_folder() / "siamese.onnx")!r}), "fp32", "cpu", threads=plan.threads, max_batch=4)
    entries = [
        engine,
        Entry(kind="known", contender="shuffles", threads=1, options=engine.options, least=engine.least),
        Entry(kind="known", contender="fails", threads=1),
        Entry(kind="known", contender="sleeps_5_ms", threads=1, only=frozenset({{"two"}})),
    ]
    def load():
        images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)
        print(plan.profile, plan.folder.is_dir(), flush=True)
        return [Workload(name="two", given=images[:2], items=2), Workload(name="four", given=images, items=4)], Judge(
            "mean cosine", "ort_cpu fp32", mean_cosine)
    return [Planned(suite="made", name="made/up", subject="up", entries=entries, workloads=["two", "four"], load=load,
                    budget_s=0)]

def test_made(raced, benchmark):
    raced.show(benchmark)
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_made.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-p", "bench.suites.conftest", "-p", "no:cacheprovider", "-rA"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), str(folder / "test_made.py")]
    return subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    """What is printed, the result file's records, and pytest-benchmark's own document."""
    folder = tmp_path_factory.mktemp("suite")
    ended = run(folder, "--results", str(folder / "r.jsonl"), "--benchmark-json", str(folder / "b.json"), "-s")
    assert ended.returncode == 1, ended.stdout + ended.stderr  # two cases answer wrongly
    return ended.stdout, records(folder / "r.jsonl"), json.loads((folder / "b.json").read_text())


def test_there_is_a_case_for_each_contender_and_workload_and_one_race(whole: Any) -> None:
    printed, _, _ = whole
    assert printed.count("quick True") == 1  # its data was made once, in a folder that is there
    outcomes = [line.partition(" ")[0] for line in printed.splitlines() if line.startswith(("PASS", "FAIL", "SKIP"))]
    assert (outcomes.count("PASSED"), outcomes.count("FAILED")) == (3, 2)
    assert "SKIPPED [2]" in printed
    assert "two: ValueError: it was to fail, and did" in printed


def test_wrong_answers_fail_and_say_so(whole: Any) -> None:
    assert "shuffles answers wrongly: mean cosine 0." in whole[0]


def test_pytest_benchmark_is_shown_the_times_that_were_measured(whole: Any) -> None:
    _, written, document = whole
    shown = {each["name"]: each for each in document["benchmarks"]}
    for record in (each for each in written if each["kind"] == "race"):
        name = f"test_made[up-{record['workload']['name']}-{record['entry'].replace(' ', '_')}]"
        seconds = [each for turn in record["seconds"] for each in turn]
        assert shown[name]["stats"]["rounds"] == len(seconds)
        assert shown[name]["stats"]["data"] == pytest.approx(seconds, abs=1e-9)
        assert shown[name]["extra_info"]["items"] == record["items"]
    assert shown["test_made[up-two-sleeps_5_ms]"]["stats"]["min"] >= TAKES_S


def test_only_what_is_selected_is_raced(tmp_path: Path) -> None:
    ended = run(tmp_path, "--results", str(tmp_path / "r.jsonl"), "-k", "four and ort_cpu")
    assert ended.returncode == 0, ended.stdout
    assert [(each["workload"]["name"], each["entry"]) for each in records(tmp_path / "r.jsonl")] == [
        ("four", "ort_cpu fp32")
    ]


def test_a_replayed_clock_goes_on_by_what_was_measured_and_by_nothing_else() -> None:
    clock = Replay()
    clock.begin([0.25, 1.5])
    assert [clock(), clock()] == [0.0, 0.0]
    clock.go_on()
    assert clock() == 0.25
    clock.go_on()
    assert clock() == 1.75
    with pytest.raises(StopIteration):
        clock.go_on()


def test_every_suite_names_its_races_without_making_anything(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "bench/suites", "--collect-only", "-p", "no:cacheprovider"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for case in (
        "test_latency[siamese-batch_1-ort_cpu_int8]",
        "test_throughput[resnet101-batch_1-tensorflow_fp32]",
        "test_throughput[mobilenet-batch_32-openvino_cpu_bf16]",
        "test_latency[autoencoder-batch_1-keras_predict_fp32]",
    ):
        assert case in ended.stdout
