"""The public names, and what importing them does not drag in."""

from __future__ import annotations

import doctest
import importlib
import importlib.metadata
import pkgutil
import subprocess
import sys

import numpy
import pytest

import semblance

FORBIDDEN = ("tensorflow", "keras", "matplotlib", "onnx", "tf2onnx", "ray", "models", "export", "bench", "PIL")


def test_the_public_names_are_these_and_all_are_there() -> None:
    assert sorted(semblance.__all__) == [
        "Batcher", "BuildReport", "Closed", "DeadlineExceeded", "Encoder", "Gallery", "GpuOptions", "Hit",
        "ImageError", "IndexOptions", "Limits", "ModelCard", "Neighbours", "Overloaded", "SemblanceError",
        "SiftOptions", "SpaceMismatch", "Verification", "match_pictures", "open_source", "read_card",
    ]  # fmt: skip
    for name in semblance.__all__:
        assert getattr(semblance, name).__name__ == name


def test_the_whole_engine_imports_nothing_that_belongs_to_training_or_drawing() -> None:
    code = (
        "import sys, pkgutil, importlib, semblance\n"
        "for m in pkgutil.walk_packages(semblance.__path__, 'semblance.'): importlib.import_module(m.name)\n"
        "[getattr(semblance, name) for name in semblance.__all__]\n"
        f"print([name for name in {FORBIDDEN!r} if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("name", [module.name for module in pkgutil.walk_packages(semblance.__path__, "semblance.")])
def test_the_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs={"np": numpy}).failed == 0


def test_the_package_says_the_version_it_was_installed_as() -> None:
    assert importlib.metadata.version("semblance") == semblance.__version__


def test_opencv_is_the_one_without_a_window_system() -> None:
    import cv2

    gui = [line for line in cv2.getBuildInformation().splitlines() if "GUI:" in line]
    assert gui
    assert "NONE" in gui[0]
