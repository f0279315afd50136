"""The command in a process of its own: what it writes, what it says, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from semblance.card import read_card

ROOT = Path(__file__).parents[2]


def _export(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"SEMBLANCE_HOME": str(home), "COLUMNS": "120"}
    command = [sys.executable, "-m", "export", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_an_export_into_the_cache_folder(tmp_path, fashion_mnist_dir):
    done = _export("autoencoder", "--weights", "random", "--seed", "4", "--parity-images", "64", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    path = tmp_path / "models" / "autoencoder.onnx"
    assert read_card(path).source == "random, seed 4"
    for part in (str(path), "max_unit_error", "overlap_at_10", "64 of the Fashion-MNIST test images"):
        assert part in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resnt101"], "models/ has"),
        ([], "exactly one of"),
        (["siamese", "--all-small"], "exactly one of"),
        (["--keras", "x.keras"], "--layer NAME"),
        (["--all-small", "--weights", "random"], "--weights does not go with --all-small"),
        (["siamese", "--layer", "dense_1"], "--layer goes with --keras"),
        (["siamese", "--no-unit-length"], "--unit-length goes with --keras"),
        (["siamese", "--metric", "l2sq"], "--metric goes with --keras"),
        (["--keras", "x.keras", "--layer", "y", "--preprocess", "tf", "--seed", "1"], "--seed goes with an original"),
        (["mobilenet", "--alpha", "0"], "alpha"),
        (["siamese", "--images", "folder"], "--images goes with --precision"),
        (["siamese", "--gate-images", "500"], "--gate-images goes with --precision"),
        (["siamese", "--force"], "--force goes with --precision"),
        (["siamese.onnx"], "exported already"),
        (["--all-small", "--precision", "int8"], "--precision int8 does not go with --all-small"),
        (["siamese", "--precision", "int8", "--out", "small.onnx"], "NAME.int8.onnx"),
        (["nothing.onnx", "--precision", "int8"], "no model file at nothing.onnx"),
        (["x.onnx", "--precision", "fp16", "--seed", "3"], "exported already"),
    ],
)
def test_a_mistake_is_one_line_and_status_1(arguments, said, tmp_path):
    done = _export(*arguments, home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_variant_of_what_is_shipped_goes_into_the_cache_folder(tmp_path, fashion_mnist_dir):
    done = _export("siamese", "--precision", "int8", "--gate-images", "1000", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    path = tmp_path / "models" / "siamese.int8.onnx"
    assert read_card(path).precision == "int8"
    for part in (str(path), "left in float: none", "P@10 lost", "same neighbours of 10", "images/s", "1,000 of the"):
        assert part in done.stdout


def test_the_fp32_file_is_exported_first_where_there_is_none(tmp_path, fashion_mnist_dir):
    out = tmp_path / "mine.fp16.onnx"
    own = ["--weights", "random", "--seed", "4", "--parity-images", "64"]
    done = _export("autoencoder", *own, "--precision", "fp16", "--out", str(out), "--gate-images", "200", home=tmp_path)
    assert done.returncode == 0, done.stderr
    fp32, fp16 = read_card(tmp_path / "mine.onnx"), read_card(out)
    assert fp32.source == fp16.source == "random, seed 4"
    assert (fp32.precision, fp16.precision) == ("fp32", "fp16")
    assert fp32.fingerprint == fp16.fingerprint
    assert fp32.gate == {}


def test_pictures_that_are_not_there_are_one_line_too(tmp_path):
    done = _export("siamese", "--precision", "int8", "--images", "nowhere", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: nowhere: there is nothing there")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def fragile_file(mobile_file):
    """A network that 8 bits break: what tells classes apart is small beside one channel that says nothing."""
    model = onnx.load(mobile_file)
    constants = {each.name: each for each in model.graph.initializer}
    for name, small, factor in (
        ("w1", slice(1, None), 1e-4),
        ("b1", slice(1, None), 1e-4),
        ("w2", slice(1, None), 1e4),
    ):
        array = numpy_helper.to_array(constants[name]).copy()
        array[small] *= factor
        constants[name].CopyFrom(numpy_helper.from_array(array, name))
    array = numpy_helper.to_array(constants["w3"]).copy()
    array[:, 0] = 0
    constants["w3"].CopyFrom(numpy_helper.from_array(array, "w3"))
    onnx.save(model, mobile_file)
    return mobile_file


def test_a_variant_that_finds_too_little_is_status_1_with_all_figures(fragile_file, picture_folder, tmp_path):
    command = [str(fragile_file), "--precision", "int8", "--images", str(picture_folder)]
    out = tmp_path / "mobile.int8.onnx"
    done = _export(*command, home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: mobile.int8.onnx finds too little of what mobile.onnx finds")
    assert done.stderr.count("\n") == 1
    for part in ("NOT WRITTEN", "P@10 lost", "<= 0.005", "smallest cosine"):
        assert part in done.stdout
    assert not out.exists()
    forced = _export(*command, "--force", home=tmp_path)
    assert forced.returncode == 0, forced.stderr
    assert "by --force although it does not pass" in forced.stdout
    assert read_card(out).gate["forced"] is True
