"""Originals are found by name, with no TensorFlow loaded, and unknown names and options are told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from models.base import find, names
from semblance.errors import ModelNotFound


def test_every_original_carries_its_own_name() -> None:
    assert {find(name).name for name in names()} == set(names())
    assert {"autoencoder", "autoencoder-published", "siamese", "siamese-published", "mobilenet"} <= set(names())
    assert {"resnet50", "resnet101", "resnet101-published", "inception_v3", "inception_resnet_v2"} <= set(names())


def test_unknown_name_and_option_say_what_there_is() -> None:
    with pytest.raises(ModelNotFound, match=r"resnt101.*resnet101"):
        find("resnt101")
    with pytest.raises(ModelNotFound, match=r"mobilenet has no option depth; it has: alpha"):
        find("mobilenet", depth=3)


def test_names_are_listed_without_tensorflow() -> None:
    code = "import models.base, sys; models.base.names(); print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
