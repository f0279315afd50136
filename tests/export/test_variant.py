"""A variant from file to file: what is written, what its card says, and what is not let through."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export import int8, variant
from export.report import show_variant
from export.variant import export_variant
from export.write import ExportError
from semblance.card import read_card
from semblance.errors import BackendError, InputError, ModelError
from semblance.inference.session import Session
from tests.export.conftest import draw

ROOT = Path(__file__).parents[2]


@pytest.fixture
def export(mobile_file, picture_folder, tmp_path):
    """`export(precision, **options)`: a variant of the small network, judged on the drawn pictures."""

    def make(precision, *, source=mobile_file, name="mobile", **options):
        out = tmp_path / f"{name}.{precision}.onnx"
        return export_variant(source, out, precision, **{"images": str(picture_folder)} | options)

    return make


@pytest.fixture
def _broken(monkeypatch):
    """All weights of 8-bit layers become zero."""

    def zeroed(*arguments, **options):
        model = quantize(*arguments, **options)
        for each in model.graph.initializer:
            if each.name.endswith(("weights.levels", "bias.levels")):
                each.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(each)), each.name))
        return model

    quantize = int8.quantize
    monkeypatch.setattr(int8, "quantize", zeroed)


@pytest.mark.parametrize("precision", ["fp16", "int8", "bf16"])
def test_a_variant_is_of_the_same_space_and_says_how_it_compares(precision, export, mobile_file, pictures):
    if precision == "bf16":
        pytest.importorskip("openvino")
        try:
            variant.require_bf16()
        except BackendError as error:
            pytest.skip(str(error))
    exported = export(precision)
    card, original = read_card(exported.path), read_card(mobile_file)
    assert exported.is_written
    assert card == exported.card
    assert card.precision == precision
    assert card.fingerprint == original.fingerprint
    assert card.parity == {**original.parity, "precision": "fp32"}, "not its own: the variant was not held against it"
    assert {name: card.gate[name] for name in ("num_images", "passed", "forced")} == {
        "num_images": 150, "passed": True, "forced": False,
    }  # fmt: skip
    assert {"images", "backend", "p_at_1", "p_at_1_fp32", "p_at_10", "p_at_10_fp32", "lost_p_at_10", "overlap_at_10",
            "mean_cosine", "min_cosine", "method", "chance", "lost_error", "warning"} <= set(card.gate)  # fmt: skip
    assert card.gate["mean_cosine"] > 0.999
    assert exported.times_faster > 0
    assert (exported.num_bytes, exported.num_bytes_fp32) == (exported.path.stat().st_size, mobile_file.stat().st_size)
    session = Session(exported.path, backend="openvino" if precision == "bf16" else "cpu")
    reference = Session(mobile_file, backend="cpu").run(pictures)
    np.testing.assert_allclose(session.run(pictures), reference, atol=0.05)


def test_int8_says_how_it_was_made(export):
    gate = export("int8").card.gate
    assert gate["num_calibration_images"] == 50
    assert gate["layers_in_float"] == ""
    assert gate["num_layers"] == 3
    assert "u8 x s8" in gate["method"]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_same_bytes_twice(precision, export):
    first, second = (export(precision, name=name).path.read_bytes() for name in ("one", "two"))
    assert first == second


@pytest.mark.usefixtures("_broken")
def test_a_variant_that_finds_nothing_is_not_written(export, tmp_path):
    (tmp_path / "mobile.int8.onnx").write_bytes(b"what was there")
    exported = export("int8")
    assert not exported.is_written
    assert not exported.gate.passed
    assert exported.path.read_bytes() == b"what was there"


@pytest.mark.usefixtures("_broken")
def test_by_force_it_is_written_and_its_card_says_so(export):
    exported = export("int8", force=True)
    card = read_card(exported.path)
    assert exported.is_written
    assert (card.gate["passed"], card.gate["forced"]) == (False, True)
    assert card.gate["lost_p_at_10"] > 0.005


def test_force_is_not_claimed_where_none_was_needed(export):
    assert export("fp16", force=True).card.gate["forced"] is False


def test_the_fp32_file_is_not_written_over(mobile_file, picture_folder):
    before = mobile_file.read_bytes()
    with pytest.raises(InputError, match="is the fp32 file itself"):
        export_variant(mobile_file, mobile_file.parent / ".." / mobile_file.parent.name / mobile_file.name, "fp16",
                       images=str(picture_folder))  # fmt: skip
    assert mobile_file.read_bytes() == before


def test_where_fp32_finds_hardly_more_than_chance_a_variant_is_written_with_a_warning(export, tmp_path, capsys):
    """Labels that have nothing to do with the pictures."""
    labels = np.random.default_rng(0).integers(0, 4, 200)
    for number, (image, label) in enumerate(zip(draw(200)[0], labels, strict=True)):
        (tmp_path / "mixed" / str(label)).mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(tmp_path / "mixed" / str(label) / f"{number:03d}.png"), image[..., ::-1])
    exported = export("fp16", images=str(tmp_path / "mixed"))
    show_variant(exported)
    assert exported.is_written
    gate = read_card(exported.path).gate
    assert gate["chance"] == pytest.approx(0.25, abs=0.01)
    assert "is hardly above chance" in gate["warning"]
    said = capsys.readouterr().out
    assert f"warning: {gate['warning']}" in said
    assert f"{gate['chance']:.4f}" in said


def test_a_variant_of_a_variant_is_refused(export):
    exported = export("fp16")
    with pytest.raises(InputError, match="is fp16 already"):
        export("int8", source=exported.path)


def test_numbers_too_large_for_halves_are_an_error_even_by_force(export, mobile_file):
    model = onnx.load(mobile_file)
    (weights,) = (each for each in model.graph.initializer if each.name == "w1")
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(1e5), "w1"))
    onnx.save(model, mobile_file)
    with pytest.raises(ModelError, match="y1 reaches"):
        export("fp16", force=True)


def test_without_hardware_bf16_is_an_error_that_says_so(export, monkeypatch):
    monkeypatch.setattr(variant.openvino, "has_bf16", lambda: False)
    with pytest.raises(BackendError, match="does not compute in bf16"):
        export("bf16")


def test_a_place_that_cannot_be_written_is_told_first(mobile_file, picture_folder, tmp_path):
    with pytest.raises(ExportError, match="ends in"):
        export_variant(mobile_file, tmp_path / "variant.bin", "int8", images=str(picture_folder))


def test_neither_tensorflow_nor_keras_is_imported(mobile_file, picture_folder, tmp_path):
    out = tmp_path / "mobile.int8.onnx"
    program = (
        "import sys, runpy\n"
        f"sys.argv = ['export', {str(mobile_file)!r}, '--precision', 'int8', '--images', {str(picture_folder)!r}]\n"
        "import export.__main__ as command\ncommand.run()\n"
    )
    check = "print(sorted({'tensorflow', 'keras', 'tf2onnx'} & set(sys.modules)))"
    command = [sys.executable, "-c", program.replace("command.run()", "import atexit; atexit.register(lambda: "
               + check + "); command.run()")]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert out.is_file()
