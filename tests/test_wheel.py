"""The wheel: it holds the zoo and nothing but `semblance`, and works where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from semblance import Encoder

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
    page = {file.name for file in (_ROOT / "engine" / "semblance" / "service" / "page").iterdir()}
    assert {f"semblance/service/page/{name}" for name in page} <= set(archive.namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel was installed into; what it depends on is in this environment already."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(target)]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True)
    return target


def run_installed(installed: Path, cwd: Path, program: str, *arguments: str) -> str:
    """stdout of a program that finds the installed `semblance` first, in a folder far from the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "SEMBLANCE_HOME": str(cwd / "home")}
    command = [sys.executable, "-c", program, *arguments]
    ended = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_installed_command_line_lists_the_zoo_from_where_it_is_installed(installed: Path, tmp_path: Path) -> None:
    program = "from semblance.cli import main; main()"
    found = json.loads(run_installed(installed, tmp_path, program, "models", "--json"))
    zoo = installed / "semblance" / "zoo"
    names = ("autoencoder", "siamese", "siamese.int8")
    assert {model["path"] for model in found} == {str(zoo / f"{name}.onnx") for name in names}
    assert [(model["name"], model["problem"]) for model in found] == [(name, None) for name in names]


def test_the_installed_package_embeds_as_the_checkout_does(installed: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(4).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    program = (
        "import numpy as np, semblance; print(semblance.__file__); "
        "np.save('vectors.npy', semblance.Encoder.load('siamese').embed(np.load('images.npy')))"
    )
    assert run_installed(installed, tmp_path, program).strip() == str(installed / "semblance" / "__init__.py")
    vectors = np.load(tmp_path / "vectors.npy")
    assert (vectors.shape, vectors.dtype) == ((5, 64), np.float32)
    np.testing.assert_allclose(vectors, Encoder.load("siamese").embed(images), atol=1e-6)
