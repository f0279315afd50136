"""Wheels, their versions and their clashes, of metadata that is made up."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from semblance.doctor.installed import read_installed
from semblance.inference.backends import wheels


def test_only_what_matters_is_told_in_order() -> None:
    versions = {"usearch": "2.26", "requests": "2", "numpy": "2.4", "nvidia-cublas": "13.1", "tensorrt-cu13": "10.13"}
    assert list(read_installed(versions).versions.items()) == [
        ("numpy", "2.4"), ("nvidia-cublas", "13.1"), ("tensorrt-cu13", "10.13"), ("usearch", "2.26"),
    ]  # fmt: skip


def test_what_is_really_installed() -> None:
    installed = read_installed()
    for wheel in ("numpy", "usearch"):
        assert installed.versions[wheel] == importlib.metadata.version(wheel)


def test_two_builds_of_onnxruntime_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}
    monkeypatch.setattr(wheels, "version_of", versions.get)
    installed = read_installed(versions)
    assert dict(installed.versions) == versions
    (clash,) = installed.clashes
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in clash


def test_one_build_of_onnxruntime_does_not_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"onnxruntime-gpu": "1.31.1", "onnxruntime-ep-cuda13": "0.1.0"}
    monkeypatch.setattr(wheels, "version_of", versions.get)
    assert read_installed(versions).clashes == ()


@pytest.mark.parametrize(
    ("versions", "command"),
    [
        ({"opencv-python": "5.0", "opencv-python-headless": "5.0"},
         "pip uninstall -y opencv-python opencv-python-headless"),
        ({"nvidia-cudnn-cu12": "9.1", "nvidia-cudnn-cu13": "9.2"}, "pip uninstall -y nvidia-cudnn-cu12"),
    ],
)  # fmt: skip
def test_other_wheels_that_share_files(versions: dict[str, str], command: str) -> None:
    (clash,) = read_installed(versions).clashes
    assert command in clash
    assert read_installed(dict([next(iter(versions.items()))])).clashes == ()


@pytest.mark.parametrize(("line", "expected"), [("cuda_version = '13.0'\n", "13.0"), ("", None)])
def test_the_cuda_of_onnxruntime_is_read_without_importing_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, expected: str | None
) -> None:
    (tmp_path / "onnxruntime/capi").mkdir(parents=True)
    (tmp_path / "onnxruntime/__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "onnxruntime/capi/build_and_package_info.py").write_text(f"package_name = 'onnxruntime'\n{line}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "onnxruntime", raising=False)
    assert read_installed({}).onnxruntime_cuda == expected
