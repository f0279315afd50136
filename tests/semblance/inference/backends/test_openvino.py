"""OpenVINO: the same embeddings as ONNX Runtime's at the precision that the card says, and nothing sent to anyone."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semblance.errors import BackendError, ModelError, RuntimeMissing
from semblance.inference import backends
from semblance.inference.backends import LoadOptions, openvino
from semblance.inference.backends.openvino import OpenVinoRunner
from semblance.inference.models import zoo_folder
from semblance.inference.session import Session

SHAPE = (8, 8, 1)
OPTIONS = LoadOptions(threads=2, shape=SHAPE)


def random_images(num: int, *, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, *shape), dtype=np.uint8)


@pytest.mark.parametrize("num", [1, 2, 7, 64])
@pytest.mark.parametrize("is_small", [True, False])
def test_it_embeds_as_the_plain_reference(
    tiny_model: Any, num: int, is_small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_small:
        monkeypatch.setattr(openvino, "_SMALL_FILE", 0)
    runner = OpenVinoRunner(tiny_model.path, OPTIONS)
    images = random_images(num)
    found = runner.run(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tiny_model.embed(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["siamese", "autoencoder"])
def test_float32_is_float32(name: str) -> None:
    path = zoo_folder() / f"{name}.onnx"
    ours, theirs = (Session(path, backend=backend, threads=2, max_batch=16) for backend in ("openvino", "cpu"))
    images = random_images(16, shape=(28, 28, 1))
    expected = theirs.run(images)
    scale = float(np.linalg.norm(expected, axis=1).max())
    assert np.abs(ours.run(images) - expected).max() / scale < 1e-5  # in bf16 it would be 1e-3


def test_bf16_is_another_arithmetic_near_by(tmp_path: Path) -> None:
    import onnx

    from semblance.card import CARD_KEY, read_card

    if not openvino.has_bf16():
        pytest.skip("this processor has no bf16")
    source = zoo_folder() / "siamese.onnx"
    card = replace(read_card(source), precision="bf16")
    model = onnx.load(source)
    next(each for each in model.metadata_props if each.key == CARD_KEY).value = card.to_json()
    path = tmp_path / "siamese.bf16.onnx"
    onnx.save(model, path)
    images = random_images(16, shape=(28, 28, 1))
    session = Session(path, threads=2, max_batch=16)
    assert session.backend == "openvino"
    assert "bf16" in session.description
    found, exact = session.run(images), Session(source, threads=2, max_batch=16).run(images)
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (found, exact)]
    assert 1e-5 < np.abs(unit[0] - unit[1]).max() < 0.05
    with pytest.raises(BackendError, match="does not compute in bf16"):
        Session(path, backend="cpu")


def test_bf16_without_the_hardware_is_refused(tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "has_bf16", lambda: False)
    with pytest.raises(BackendError, match="without hardware for it"):
        OpenVinoRunner(tiny_model.path, replace(OPTIONS, precision="bf16"))


def test_callers_have_requests_of_their_own(tiny_model: Any) -> None:
    runner = OpenVinoRunner(tiny_model.path, replace(OPTIONS, threads=1, streams=2))
    batches = [random_images(1 + seed % 5, seed=seed) for seed in range(60)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(runner.run, batches))
    for images, each in zip(batches, found, strict=True):
        np.testing.assert_allclose(each, tiny_model.embed(images), rtol=1e-5, atol=1e-5)


def test_an_answer_outlives_the_next_one_and_memory_that_is_given_back(tiny_model: Any) -> None:
    runner = OpenVinoRunner(tiny_model.path, OPTIONS)
    images = random_images(3)
    first = runner.run(images)
    kept = first.copy()
    runner.run(random_images(3, seed=1))
    runner.release_memory()
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(runner.run(images), kept)


def test_what_openvino_refuses_is_a_backend_error(tiny_model: Any) -> None:
    runner = OpenVinoRunner(tiny_model.path, OPTIONS)
    with pytest.raises(BackendError, match=r"openvino .* failed on a batch of 2"):
        runner.run(random_images(2, shape=(9, 8, 1)))
    np.testing.assert_allclose(runner.run(random_images(2)), tiny_model.embed(random_images(2)), rtol=1e-5, atol=1e-5)


def test_graphs_that_are_none_of_ours_are_model_errors(tiny_model: Any, tmp_path: Path) -> None:
    import onnx

    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(tiny_model.path.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"OpenVINO cannot load it.*export the model again"):
        OpenVinoRunner(damaged, OPTIONS)
    model = onnx.load(tiny_model.path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, damaged)
    with pytest.raises(ModelError, match="fixed at 1"):
        OpenVinoRunner(damaged, OPTIONS)


def test_without_the_wheel_the_error_has_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "version_of", lambda wheel: None)
    with pytest.raises(RuntimeMissing, match=r"pip install 'semblance\[openvino\]'"):
        openvino.openvino()


def test_matching_says_that_it_goes_elsewhere() -> None:
    with pytest.raises(BackendError, match="embeds only"):
        backends.chosen("openvino")


IN_A_FRESH_PROCESS = """
import socket, sys
from semblance.inference.backends import openvino

def refuse(*args, **kwargs):
    print("a connection was opened")
    raise OSError

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
openvino.openvino()
assert "openvino_telemetry" not in sys.modules
import openvino_telemetry  # as before, for who wants it
"""


def test_importing_it_reports_nothing_to_anyone() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_FRESH_PROCESS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
