"""Which files take part, and what is varied."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from semblance.card import Precision
from semblance.errors import CardError, ModelNotFound
from semblance.tune.candidates import (
    batches_beside,
    coarse_batches,
    gate_problem,
    stream_counts,
    thread_counts,
    variants_of,
)
from tests.conftest import make_tiny_model
from tests.semblance.tune.made_up import FP32, INT8

PASSED = {"passed": True, "forced": False, "lost_p_at_10": 0.001}
FAILED = {"passed": False, "forced": True, "lost_p_at_10": 0.0312}


@pytest.mark.parametrize(
    ("precision", "gate", "problem"),
    [
        ("fp32", {}, ""), ("fp32", FAILED, ""), ("int8", PASSED, ""), ("bf16", PASSED, ""),
        ("int8", {}, "does not say"), ("fp16", {"p_at_10": 0.7}, "does not say"),
        ("int8", FAILED, "did not pass.*0.0312"), ("bf16", {"passed": False}, "did not pass"),
        ("int8", {"passed": 1}, "did not pass"),
    ],
)  # fmt: skip
def test_a_variant_needs_a_card_that_says_it_passed(precision: Precision, gate: dict[str, Any], problem: str) -> None:
    assert INT8.card is not None
    found = gate_problem(replace(INT8.card, precision=precision, gate=gate))
    if problem:
        assert re.search(problem, found), found
    else:
        assert found == ""


def test_the_files_beside_a_model_are_its_variants(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "mine.onnx")
    make_tiny_model(tmp_path / "mine.int8.onnx", name="mine", precision="int8", gate=PASSED)
    make_tiny_model(tmp_path / "mine.bf16.onnx", name="mine", precision="bf16", gate=FAILED)
    make_tiny_model(tmp_path / "mine.fp16.onnx", name="mine", precision="fp16", seed=1, gate=PASSED)
    make_tiny_model(tmp_path / "minered.onnx")
    found = {variant.name: variant for variant in variants_of(model.path)}
    assert next(iter(found)) == "mine"
    assert found.keys() == {"mine", "mine.int8", "mine.bf16", "mine.fp16"}
    assert (found["mine"].left_out, found["mine.int8"].left_out) == ("", "")
    assert "--ungated" in found["mine.bf16"].left_out
    assert "embedding space is another" in found["mine.fp16"].left_out
    ungated = {variant.name: variant for variant in variants_of(model.path, is_ungated=True)}
    assert ungated["mine.bf16"].left_out == ""
    assert "did not pass" in ungated["mine.bf16"].note, "it takes part, and what it lacks is told"
    assert "embedding space is another" in ungated["mine.fp16"].left_out


def test_a_variant_alone_is_itself(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "mine.onnx")
    int8 = make_tiny_model(tmp_path / "mine.int8.onnx", name="mine", precision="int8", gate=PASSED)
    assert [variant.path for variant in variants_of(int8.path)] == [int8.path]


def test_a_damaged_variant_is_told_and_a_damaged_model_is_an_error(tiny_model: Any, tmp_path: Path) -> None:
    (tmp_path / "tiny.int8.onnx").write_bytes(b"no model")
    damaged = variants_of(tiny_model.path)[1]
    assert damaged.card is None
    assert damaged.precision == "int8"
    assert "not an ONNX file" in damaged.left_out
    with pytest.raises(ModelNotFound):
        variants_of(tmp_path / "none.onnx")
    import onnx

    model = onnx.load(tiny_model.path)
    del model.metadata_props[:]
    onnx.save(model, tiny_model.path)
    with pytest.raises(CardError):
        variants_of(tiny_model.path)


def test_names_and_precisions() -> None:
    assert (FP32.name, FP32.precision) == ("made-up", "fp32")
    assert (INT8.name, INT8.precision) == ("made-up.int8", "int8")


@pytest.mark.parametrize(("available", "counts"), [(1, [1]), (2, [2, 1]), (3, [3, 1]), (16, [16, 8])])
def test_threads_are_all_and_half(available: int, counts: list[int]) -> None:
    assert thread_counts(available) == counts


@pytest.mark.parametrize(("threads", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2]), (6, [1, 2, 4]),
                                                 (64, [1, 2, 4, 8])])  # fmt: skip
def test_streams_are_powers_of_two_up_to_the_threads(threads: int, counts: list[int]) -> None:
    assert stream_counts(threads) == counts


@pytest.mark.parametrize(("largest", "batches"), [(1, [1]), (2, [1, 2]), (4, [1, 4]), (6, [1, 4, 6]),
                                                  (32, [1, 4, 16, 32]), (256, [1, 4, 16, 64, 256])])  # fmt: skip
def test_batches_are_powers_of_four_and_the_largest(largest: int, batches: list[int]) -> None:
    assert coarse_batches(largest) == batches


def test_beside_a_batch_are_half_and_twice_of_it() -> None:
    assert batches_beside(16, 256) == [8, 32]
    assert batches_beside(1, 256) == [2]
    assert batches_beside(256, 256) == [128]
    assert batches_beside(1, 1) == []
    assert batches_beside(64, 100) == [32]
    assert batches_beside(100, 100) == [], "50 would be padded to 64 beside it"
