"""The comparison with TensorFlow, run for real and as briefly as it can be: what it prints, and that both agree.

How fast either is depends on the machine and on what else it does, so that no time is asserted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.vs_tensorflow import PRODUCT, Asked, Contender, of_files, started
from semblance.errors import BackendError, InputError
from tests.conftest import make_tiny_model

CONTENDERS = ["tensorflow, 1 inter-op", "tensorflow, 2 inter-op", "cpu fp32", "openvino fp32"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.vs_tensorflow", *arguments]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def printed(fashion_mnist_dir: Path) -> str:
    """stdout of the shortest run over two batch sizes."""
    ended = run("autoencoder", "--batches", "1", "3", "--threads", "1", "--seconds", "0", "--backends", "cpu",
                "openvino", "--ceiling")  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def document(printed: str) -> Any:
    return json.loads(printed.splitlines()[-1])


def test_the_last_line_says_what_was_measured_and_where(document: Any) -> None:
    assert list(document) == ["machine", "threads", "results"]
    assert document["threads"] == 1
    assert document["machine"]["num_processors"] >= 1
    assert {"python", "tensorflow", "onnxruntime", "numpy"} <= set(document["machine"]["versions"])
    measured = [(row["model"], row["batch"], row["image"]) for row in document["results"]]
    assert measured == [("autoencoder", 1, "28x28x1"), ("autoencoder", 3, "28x28x1")]


def test_every_contender_has_all_its_calls_and_what_is_made_of_them(document: Any) -> None:
    for row in document["results"]:
        assert list(row["contenders"]) == [*CONTENDERS, PRODUCT]
        for name, figures in row["contenders"].items():
            assert figures["num_calls"] == len(figures["calls_ms"]) >= 5
            assert 0 < min(figures["calls_ms"]) <= figures["median_ms"] + 1e-5  # each call is rounded to 1e-5 ms
            assert figures["median_ms"] <= figures["p95_ms"] <= max(figures["calls_ms"]) + 1e-5
            if name == PRODUCT:
                assert figures["operations_per_sec"] == pytest.approx(2 * 2048**3 / figures["median_ms"] * 1e3)
                continue
            assert figures["images_per_sec"] == pytest.approx(row["batch"] / figures["median_ms"] * 1e3)


def test_the_ratio_is_to_the_faster_tensorflow(document: Any) -> None:
    for row in document["results"]:
        medians = {name: figures["median_ms"] for name, figures in row["contenders"].items()}
        assert row["tensorflow_fastest"] == min(CONTENDERS[:2], key=medians.__getitem__)
        ratio = row["contenders"]["openvino fp32"]["times_tensorflow"]
        assert ratio == pytest.approx(medians[row["tensorflow_fastest"]] / medians["openvino fp32"])


def test_all_contenders_give_the_same_embeddings(document: Any) -> None:
    for row in document["results"]:
        for name in CONTENDERS:
            assert 0 <= row["contenders"][name]["max_difference"] < 1e-4
            assert row["contenders"][name]["mean_cosine"] == pytest.approx(1, abs=1e-6)


def test_the_table_has_a_line_for_each_contender(printed: str) -> None:
    table = "\n".join(printed.splitlines()[:-1])
    for name in [*CONTENDERS, PRODUCT]:
        assert table.count(name) == 2  # batch sizes


def test_an_unknown_model_is_one_line_before_anything_is_measured() -> None:
    ended = run("autoencoder", "nosuch", "--seconds", "0")
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: unknown ")
    assert "'nosuch'" in line


def test_each_file_runs_on_the_backends_that_compute_in_its_precision(tmp_path: Path) -> None:
    files = [make_tiny_model(tmp_path / f"m.{each}.onnx", precision=each).path for each in ("fp32", "fp16", "int8")]
    asked = Asked(None, None, [1, 4], 2, 0, files, ["cpu", "openvino"], False)
    names = [each.name for each in of_files(files, asked)]
    assert names == ["cpu fp32", "openvino fp32", "openvino fp16 as fp32", "cpu int8", "openvino int8"]


def test_no_file_is_left_out_in_silence(tmp_path: Path) -> None:
    fp32, fp16, one, two = (
        make_tiny_model(tmp_path / f"{number}.onnx", precision=each).path
        for number, each in enumerate(("fp32", "fp16", "int8", "int8"))
    )
    asked = Asked(None, None, [1], 2, 0, [], ["cpu"], False)
    with pytest.raises(InputError, match=r"1\.onnx is fp16, which none of the backends cpu computes in"):
        of_files([fp32, fp16], asked)
    with pytest.raises(InputError, match=r"3\.onnx is int8, and so is another file"):
        of_files([fp32, one, two], asked)


def test_a_contender_that_cannot_start_is_an_error_that_names_it(tmp_path: Path) -> None:
    missing = Contender("cpu int8", 1, file=tmp_path / "nothing.onnx")
    with pytest.raises(BackendError, match="process of 'cpu int8' could not start"), started([missing]):
        pass
