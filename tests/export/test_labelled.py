"""The pictures that a variant is made and judged by: real, labelled, and never the same for both."""

from __future__ import annotations

import dataclasses
import shutil
import tarfile

import numpy as np
import pytest

from export import labelled
from export.labelled import open_domain
from semblance.card import read_card
from semblance.errors import InputError, SourceError


@pytest.fixture
def card(mobile_file):
    return read_card(mobile_file)


def _grey(card):
    return dataclasses.replace(card, height=28, width=28, channels=1)


def test_a_source_is_split_evenly_without_overlap(card, picture_folder):
    domain = open_domain(card, str(picture_folder))
    assert domain.calibration.images.shape == (50, 16, 16, 3)
    assert domain.gate.images.shape == (150, 16, 16, 3)
    assert np.unique(domain.calibration.labels).size == np.unique(domain.gate.labels).size == 4
    together = np.concatenate([domain.calibration.images, domain.gate.images]).reshape(200, -1)
    assert len(np.unique(together, axis=0)) == 200
    assert domain.gate.described == f"150 of {picture_folder}"
    again = open_domain(card, str(picture_folder))
    np.testing.assert_array_equal(again.calibration.images, domain.calibration.images)


def test_labels_stay_with_their_pictures(card, picture_folder):
    """Pictures of a class share their colour."""
    gate = open_domain(card, str(picture_folder)).gate
    means = gate.images.mean(axis=(1, 2))  # [N, 3]
    for label in np.unique(gate.labels):
        assert means[gate.labels == label].std(axis=0).max() < means.std(axis=0).max() / 2


def test_labels_that_take_turns_all_take_part(card, picture_folder, tmp_path):
    """Every fourth picture would be of one class only, and the rest would have none of it."""
    pictures = sorted(picture_folder.glob("*/*.png"), key=lambda path: path.name)
    with tarfile.open(tmp_path / "turns.tar", "w") as tar:
        for path in pictures:
            tar.add(path, f"{path.parent.name}/{path.name}")
    domain = open_domain(card, str(tmp_path / "turns.tar"), num_gate=50)
    for each, num in ((domain.calibration, 50), (domain.gate, 50)):
        _, counts = np.unique(each.labels, return_counts=True)
        assert len(counts) == 4
        assert counts.sum() == num
        assert counts.max() - counts.min() <= 1


def test_fewer_to_judge_on_are_spread_over_all(card, picture_folder):
    domain = open_domain(card, str(picture_folder), num_gate=40)
    assert len(domain.gate.images) == len(domain.gate.labels) == 40
    assert np.unique(domain.gate.labels).size == 4
    assert len(domain.calibration.images) == 50


def test_small_grey_models_get_garments_of_both_splits(card, fashion_mnist_dir):
    domain = open_domain(_grey(card), num_gate=200)
    assert domain.calibration.images.shape == (1024, 28, 28, 1)
    assert domain.gate.images.shape == (200, 28, 28, 1)
    assert domain.calibration.described == "1,024 of the Fashion-MNIST training images"
    assert domain.gate.described == "200 of the Fashion-MNIST test images"
    assert np.unique(domain.gate.labels).size == 10


def test_colour_models_get_photographs(card, caltech_dir, monkeypatch):
    monkeypatch.setenv("SEMBLANCE_DATA", str(caltech_dir.parent))
    domain = open_domain(card, num_gate=300)
    assert domain.gate.images.shape == (300, 16, 16, 3)
    assert np.unique(domain.gate.labels).size > 90
    assert "Caltech101" in domain.gate.described


def test_without_real_pictures_it_says_what_to_give(card, monkeypatch):
    monkeypatch.setattr(labelled, "find_photographs", lambda: None)
    with pytest.raises(SourceError, match=r"no labelled photographs.*--images SOURCE"):
        open_domain(card)
    with pytest.raises(SourceError, match="no labelled 16x16 grey pictures"):
        open_domain(dataclasses.replace(card, channels=1))


def test_pictures_without_labels_or_too_few_are_refused(card, picture_folder, tmp_path):
    np.save(tmp_path / "unlabelled.npy", np.zeros((40, 16, 16, 3), np.uint8))
    with pytest.raises(InputError, match="has no label"):
        open_domain(card, str(tmp_path / "unlabelled.npy"))
    shutil.copytree(picture_folder / "0", tmp_path / "one" / "0")
    with pytest.raises(InputError, match="50 pictures of 1 labels"):
        open_domain(card, str(tmp_path / "one"))
