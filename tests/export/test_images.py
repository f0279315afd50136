"""The images of a comparison: the right size, real where there are real ones, and said where not."""

from __future__ import annotations

import numpy as np
import pytest

from export import images
from export.images import parity_images, read_photographs
from models.base import find

PHOTOGRAPHS = "caltech101/caltech101-45.tar"


def test_small_grey_models_get_garments(fashion_mnist_dir, monkeypatch):
    monkeypatch.setenv("SEMBLANCE_DATA", str(fashion_mnist_dir.parent))
    found = parity_images(find("siamese"), 50)
    assert found.images.shape == (50, 28, 28, 1)
    assert found.images.dtype == np.uint8
    assert found.described == "50 of the Fashion-MNIST test images"


def test_photographs_are_spread_over_all_classes(caltech_dir, monkeypatch):
    monkeypatch.setenv("SEMBLANCE_DATA", str(caltech_dir.parent))
    found = parity_images(find("resnet50"), 12)
    assert found.images.shape == (12, 224, 224, 3)
    assert found.described == "12 photographs of Caltech101"
    assert len(np.unique(found.images.reshape(12, -1), axis=0)) == 12


def test_no_more_photographs_than_there_are(caltech_dir):
    assert sum(1 for _ in read_photographs(caltech_dir / "caltech101-45.tar", 3)) == 3
    assert list(read_photographs(caltech_dir / "caltech101-45.tar", 0)) == []


def test_without_photographs_garments_stand_in_and_it_is_said(fashion_mnist_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("SEMBLANCE_DATA", str(fashion_mnist_dir))
    monkeypatch.setattr(images, "find_photographs", lambda: None)
    found = parity_images(find("mobilenet"), 3)
    assert found.images.shape == (3, 224, 224, 3)
    assert "no photographs" in found.described


def test_without_anything_patterns_are_drawn_and_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("SEMBLANCE_DATA", str(tmp_path))
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = parity_images(find("autoencoder"), 20, allow_download=False)
    assert found.images.shape == (20, 28, 28, 1)
    assert "drawn" in found.described
    assert len(np.unique(found.images.reshape(20, -1), axis=0)) == 20
    assert found.images.std() > 20


@pytest.mark.parametrize("name", ["autoencoder", "resnet50"])
def test_none_asked_none_given(name, fashion_mnist_dir, caltech_dir):
    assert len(parity_images(find(name), 0).images) == 0
