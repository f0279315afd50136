"""Finding models by name and by file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semblance.errors import ModelNotFound
from semblance.inference import models


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "home"))
    folder = models.cache_folder()
    folder.mkdir(parents=True)
    return folder


def test_a_name_is_looked_for_in_the_zoo_and_then_in_the_cache(cache: Path, tiny_model: Any) -> None:
    (cache / "mine.onnx").write_bytes(tiny_model.path.read_bytes())
    (cache / "siamese.onnx").write_bytes(tiny_model.path.read_bytes())
    assert models.find_model("mine") == cache / "mine.onnx"
    assert models.find_model("siamese") == models.zoo_folder() / "siamese.onnx"
    assert models.find_model(tiny_model.path) == tiny_model.path


def test_a_name_that_is_not_there_lists_those_that_are(cache: Path, tiny_model: Any) -> None:
    (cache / "mine.onnx").write_bytes(tiny_model.path.read_bytes())
    with pytest.raises(ModelNotFound, match=r"'other'.*siamese.*mine.*python -m export other"):
        models.find_model("other")


def test_the_shipped_models_are_listed_and_a_broken_one_says_why(cache: Path) -> None:
    (cache / "broken.onnx").write_bytes(b"no model")
    found = {entry.path.stem: entry for entry in models.list_models()}
    assert {"autoencoder", "siamese"} <= found.keys()
    assert found["siamese"].card is not None
    assert found["siamese"].card.dimension == 64
    assert found["broken"].card is None
    assert "not an ONNX file" in str(found["broken"].problem)


def test_files_of_other_precisions_have_a_name_each(cache: Path, tiny_model: Any) -> None:
    names = ["mine", "mine.bf16", "mine.int8", "minerva"]
    for name in reversed(names):
        (cache / f"{name}.onnx").write_bytes(tiny_model.path.read_bytes())
    for name in names:
        assert models.find_model(name) == cache / f"{name}.onnx"
    assert [entry.name for entry in models.list_models() if entry.path.parent == cache] == names
    assert models.precision_files(cache / "mine.onnx") == [cache / f"{name}.onnx" for name in names[:3]]
    assert models.precision_files(cache / "mine.int8.onnx") == [cache / "mine.int8.onnx"]


def test_variants_of_a_shipped_model_lie_in_the_cache(cache: Path, tiny_model: Any) -> None:
    for name in ("autoencoder.int8", "siamese.int8", "siamese.bf16"):
        (cache / f"{name}.onnx").write_bytes(tiny_model.path.read_bytes())
    shipped = models.find_model("autoencoder")
    assert models.precision_files(shipped) == [shipped, cache / "autoencoder.int8.onnx"]
    assert models.find_model("autoencoder.int8") == cache / "autoencoder.int8.onnx"
    shipped = models.find_model("siamese")  # with one that is shipped beside it
    of_zoo = shipped.with_name("siamese.int8.onnx")
    assert models.precision_files(shipped) == [shipped, of_zoo, cache / "siamese.bf16.onnx"]
    assert models.find_model("siamese.int8") == of_zoo
