"""Encoding pictures of every accepted form, and refusing the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from semblance.errors import BackendError, ImageError, InputError, ModelNotFound
from semblance.inference.backends import GpuOptions
from semblance.inference.encoder import Encoder
from semblance.inputs.decode import decode
from semblance.inputs.resize import resize


@pytest.fixture
def encoder(tiny_model: Any) -> Encoder:
    return Encoder.load(tiny_model.path, threads=1, max_batch=4)


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("num", [0, 1, 3, 4, 9])
def test_an_array_of_the_right_size_equals_the_reference(encoder: Encoder, tiny_model: Any, num: int) -> None:
    images = noise(num, 8, 8, 1)
    expected = tiny_model.embed(images)
    np.testing.assert_allclose(encoder.embed(images), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(encoder.embed(images[..., 0]), expected, rtol=1e-5, atol=1e-5)  # [N, H, W]
    np.testing.assert_allclose(encoder.embed(list(images)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("num", [0, 1, 8, 21])
def test_an_array_of_the_models_size_is_cut_and_its_pictures_are_not_looked_at_one_by_one(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch, num: int, streams: int
) -> None:
    encoder = Encoder.load(tiny_model.path, backend="cpu", threads=2, streams=streams, max_batch=8)
    monkeypatch.setattr(encoder, "prepare", None)
    images = noise(num, 8, 8, 1)
    assert encoder.streams == streams
    np.testing.assert_allclose(encoder.embed(images), tiny_model.embed(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_paths_bytes_and_arrays_of_any_size_are_decoded_resized_and_kept_in_order(
    tiny_model: Any, tmp_path: Path, workers: int
) -> None:
    encoder = Encoder.load(tiny_model.path, threads=1, max_batch=4, workers=workers)
    pictures: list[Any] = []
    for which in range(11):
        pixels = noise(20 + which, 31, 3, seed=which)
        path = tmp_path / f"{which}.png"
        cv2.imwrite(str(path), pixels)
        pictures.append([path, str(path), path.read_bytes(), pixels][which % 4])
    prepared = [resize(decode(Path(p) if isinstance(p, str) else p, channels=1), height=8, width=8) for p in pictures]
    expected = tiny_model.embed(np.stack(prepared))
    np.testing.assert_allclose(encoder.embed(pictures), expected, rtol=1e-5, atol=1e-5)


def test_one_path_or_one_encoded_picture_gives_one_row(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), noise(9, 9, 3))
    row = encoder.embed([path])
    assert row.shape == (1, 16)
    for picture in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(encoder.embed(picture), row)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 8, 8, 1), np.float32), "uint8.*float32"),
        (np.zeros((8, 8, 3), np.uint8), "looks like one picture"),
        (np.zeros((8, 8), np.uint8), r"\[8, 8\]"),
        (np.zeros((1, 2, 8, 8, 1), np.uint8), r"\[1, 2, 8, 8, 1\]"),
        (np.zeros((2, 8, 8, 2), np.uint8), "C = 1 or 3"),
        (7, "sequence of pictures"),
        (iter([]), "sequence of pictures"),
        ([b""], "empty"),
        ([b"not a picture"], "not an image"),
        (["no/such/file.png"], "no such file"),
        ([7], "int"),
        ([np.zeros((8, 8), np.uint8), b"no"], "picture 1: 2 bytes: not an image"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(encoder: Encoder, images: Any, message: str) -> None:
    with pytest.raises((ImageError, InputError), match=message):
        encoder.embed(images)


@pytest.mark.parametrize("workers", [-1, 1.5])
def test_a_wrong_number_of_workers_is_refused_at_load(tiny_model: Any, workers: Any) -> None:
    with pytest.raises(InputError, match="workers"):
        Encoder.load(tiny_model.path, workers=workers)


def test_an_unknown_model_lists_what_is_here_and_how_to_get_more() -> None:
    with pytest.raises(ModelNotFound, match=r"resnt101.*python -m export resnt101"):
        Encoder.load("resnt101")
    with pytest.raises(ModelNotFound, match=r"no model file at nowhere/m\.onnx"):
        Encoder.load("nowhere/m.onnx")


def test_it_says_which_backend_runs_why_and_what_warming_up_took(tiny_model: Any) -> None:
    chosen = Encoder.load(tiny_model.path, max_batch=4)
    assert chosen.backend == "cpu"
    assert chosen.why
    assert f"(auto: {chosen.why})" in chosen.description
    assert [each.bucket for each in chosen.warmed] == [1, 2, 4]
    assert all(each.first_ms > 0 and each.again_ms > 0 for each in chosen.warmed)
    asked = Encoder.load(tiny_model.path, backend="cpu", warm_up=False)
    assert (asked.backend, asked.why, asked.warmed) == ("cpu", "", ())


@pytest.mark.parametrize("backend", ["cpu", "auto"])
def test_options_of_a_gpu_are_refused_where_nothing_would_heed_them(tiny_model: Any, backend: str) -> None:
    with pytest.raises(BackendError, match="options that mean nothing to the backend 'cpu'"):
        Encoder.load(tiny_model.path, backend=backend, gpu=GpuOptions())


def test_an_unknown_backend_is_told_before_what_it_heeds(tiny_model: Any) -> None:
    with pytest.raises(BackendError, match="unknown backend 'tpu'"):
        Encoder.load(tiny_model.path, backend="tpu", gpu=GpuOptions())
