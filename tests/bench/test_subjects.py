"""The models under measurement: where their files are, that they are made once, and why one cannot be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import subjects as module
from bench.subjects import PRECISIONS, Subject, subject, subjects
from semblance.card import read_card
from semblance.errors import InputError, SourceError
from semblance.inference.models import zoo_folder


def test_shipped_files_are_taken_as_they_are() -> None:
    model = subject("siamese")
    assert model.path("int8") == zoo_folder() / "siamese.int8.onnx"
    assert model.ensure("int8", is_full=True, say=pytest.fail) is None


@pytest.mark.usefixtures("fashion_mnist_dir")
def test_what_is_missing_is_exported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path))
    model, said = subject("autoencoder"), list[str]()
    assert not model.path("int8").is_file()
    assert model.ensure("int8", is_full=False, say=said.append) is None
    assert tmp_path in model.path("int8").parents
    assert read_card(model.path("int8")).precision == "int8"
    assert read_card(model.path("int8")).fingerprint == read_card(model.path("fp32")).fingerprint
    made = model.path("int8").stat().st_mtime_ns
    assert model.ensure("int8", is_full=False, say=said.append) is None
    assert model.path("int8").stat().st_mtime_ns == made
    assert len(said) == 1


def test_an_export_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path))
    reason = Subject("siamese-published", weights="nothing.h5").ensure("fp32", is_full=True, say=lambda _: None)
    assert reason is not None
    assert "nothing.h5" in reason


def test_a_quick_run_does_not_wait_for_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path))
    assert "only the full run" in str(subject("resnet101").ensure("int8", is_full=False, say=pytest.fail))


def test_a_changed_exporter_makes_its_own_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "home"))
    before = subject("resnet101").path("fp32")
    for folder in ("export", "models"):
        (tmp_path / folder).mkdir()
        for path in (module._ROOT / folder).glob("*.py"):
            (tmp_path / folder / path.name).write_text(path.read_text())
    monkeypatch.setattr(module, "_ROOT", tmp_path)
    module._state.cache_clear()
    assert subject("resnet101").path("fp32") == before
    (tmp_path / "export" / "graph.py").write_text("changed")
    module._state.cache_clear()
    assert subject("resnet101").path("fp32") != before
    module._state.cache_clear()


def test_other_weights_make_other_files(monkeypatch: pytest.MonkeyPatch) -> None:
    before = subject("resnet101").path("fp32")
    monkeypatch.setenv("SEMBLANCE_RESNET101_WEIGHTS", "imagenet")
    assert subject("resnet101").path("fp32") != before


def test_one_whose_weights_are_not_here_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "find_data", lambda _: None)
    model = subject("mobilenet")
    assert "is not on this machine" in str(model.ensure("fp32", is_full=True, say=pytest.fail))
    with pytest.raises(SourceError, match="is not on this machine; set SEMBLANCE_DATA"):
        model.images(1)


def test_names_and_images() -> None:
    assert list(subjects()) == ["autoencoder", "siamese", "mobilenet", "resnet101"]
    assert PRECISIONS == ("fp32", "bf16", "int8")
    with pytest.raises(InputError, match="no subject 'vgg'; there are: autoencoder"):
        subject("vgg")
    images = subject("siamese").images(3)
    assert (images.shape, images.dtype) == ((3, 28, 28, 1), np.uint8)
