"""The wheel: it holds the zoo and nothing but `semblance`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_ROOT / name, copy)
    for folder in ("engine", "models", "export", "bench", "tests"):
        shutil.copytree(_ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    return next((copy / "dist").glob("*.whl"))


def test_nothing_generic_is_installed(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {
        "semblance",
        wheel.name[: -len("-py3-none-any.whl")] + ".dist-info",
    }
    assert not [name for name in names if "/tests/" in name or name.endswith((".h5", ".keras", ".png"))]


def test_it_works_at_once_and_offline_because_the_zoo_is_inside(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    for name in ("autoencoder", "siamese"):
        inside = archive.read(f"semblance/zoo/{name}.onnx")
        assert inside == (_ROOT / "engine" / "semblance" / "zoo" / f"{name}.onnx").read_bytes()
    assert "semblance/py.typed" in archive.namelist()
