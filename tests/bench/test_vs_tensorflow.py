"""The comparison with TensorFlow, run for real and as briefly as it can be: what it prints, and that both agree.

How fast either is depends on the machine and on what else it does, so that no time is asserted.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.contenders.embedding import product_int8
from bench.entries import of_files
from bench.vs_tensorflow import Asked, measure
from semblance.errors import BackendError, InputError
from semblance.inference.backends.openvino import has_bf16
from semblance.inference.models import zoo_folder
from tests.conftest import make_tiny_model

CONTENDERS = ["tensorflow fp32", "tensorflow fp32 2 inter-op", "ort_cpu fp32", "openvino_cpu fp32"]
CEILINGS = ["product_fp32 fp32", *(["product_bf16 bf16"] if has_bf16() else []), "product_int8 int8"]


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
    measured = [(row["subject"], row["workload"]["batch"], row["entry"]) for row in document["results"]]
    assert measured == [("autoencoder", batch, name) for batch in (1, 3) for name in CONTENDERS + CEILINGS]


def test_every_contender_has_all_its_calls_and_what_is_made_of_them(document: Any) -> None:
    for row in document["results"]:
        milliseconds = [each * 1e3 for turn in row["seconds"] for each in turn]
        assert len(row["seconds"]) >= 5
        assert row["num_calls"] == len(milliseconds)
        assert 0 < min(milliseconds) <= row["median_ms"] <= row["p95_ms"] <= max(milliseconds)
        items = product_int8.OPERATIONS if row["entry"] in CEILINGS else row["workload"]["batch"]
        rates = [items / statistics.median(turn) for turn in row["seconds"]]
        assert row["per_sec"] == pytest.approx(statistics.median(rates))


def test_the_ratio_is_to_the_faster_tensorflow_round_by_round(document: Any) -> None:
    for batch in (1, 3):
        rows = {row["entry"]: row for row in document["results"] if row["workload"]["batch"] == batch}
        fastest = max(CONTENDERS[:2], key=lambda name: rows[name]["per_sec"])
        medians = {name: [statistics.median(turn) for turn in row["seconds"]] for name, row in rows.items()}
        for name in CONTENDERS:
            assert rows[name]["tensorflow_fastest"] == fastest
            ratios = [theirs / own for theirs, own in zip(medians[fastest], medians[name], strict=True)]
            assert rows[name]["times_tensorflow"] == pytest.approx(statistics.median(ratios))


def test_the_ceiling_is_told_as_a_share(document: Any) -> None:
    rows = {row["entry"]: row for row in document["results"] if row["workload"]["batch"] == 3}
    own = rows["ort_cpu fp32"]
    share = own["per_sec"] * own["operations_per_item"] / rows["product_fp32 fp32"]["per_sec"]
    assert own["share_of_ceiling"] == pytest.approx(share)
    assert rows["product_fp32 fp32"]["share_of_ceiling"] is None


def test_all_contenders_give_the_same_embeddings(document: Any) -> None:
    for row in document["results"]:
        if row["entry"] in CONTENDERS:
            assert row["answers"]["is_right"]
            assert row["answers"]["value"] == pytest.approx(1, abs=1e-6)


def test_the_table_has_a_line_for_each_contender(printed: str) -> None:
    cells = [line.split("│")[3].strip(" *") for line in printed.splitlines()[:-1] if line.count("│") > 3]
    for name in CONTENDERS + CEILINGS:
        assert cells.count(name) == 2  # batch sizes


def test_an_unknown_model_is_one_line_before_anything_is_measured() -> None:
    ended = run("autoencoder", "nosuch", "--seconds", "0")
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: unknown ")
    assert "'nosuch'" in line


def test_each_file_runs_on_the_backends_that_compute_in_its_precision(tmp_path: Path) -> None:
    files = [make_tiny_model(tmp_path / f"m.{each}.onnx", precision=each).path for each in ("fp32", "fp16", "int8")]
    names = [each.name for each in of_files(files, ["cpu", "openvino"], threads=2, max_batch=4)]
    assert names == ["ort_cpu fp32", "openvino_cpu fp32", "openvino_cpu fp16 as fp32", "ort_cpu int8",
                     "openvino_cpu int8"]  # fmt: skip


def test_no_file_is_left_out_in_silence(tmp_path: Path) -> None:
    fp32, fp16, one, two = (
        make_tiny_model(tmp_path / f"{number}.onnx", precision=each).path
        for number, each in enumerate(("fp32", "fp16", "int8", "int8"))
    )
    with pytest.raises(InputError, match=r"1\.onnx is fp16, which none of the backends cpu computes in"):
        of_files([fp32, fp16], ["cpu"], threads=2, max_batch=1)
    with pytest.raises(InputError, match=r"3\.onnx is int8, and so is another file"):
        of_files([fp32, one, two], ["cpu"], threads=2, max_batch=1)


def test_a_contender_that_cannot_take_part_is_an_error_that_names_it() -> None:
    asked = Asked(weights="nothing.h5", budget_s=0, files=[zoo_folder() / "autoencoder.onnx"], batches=[1])
    with pytest.raises(BackendError, match=r"tensorflow fp32 could not take part: .*nothing\.h5"):
        measure("autoencoder", asked)
