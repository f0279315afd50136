"""The command line as its user runs it, in this process, and a folder of photographs."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from semblance.cli import main

Result = tuple[int, str, str]
Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`run("info", path)` -> exit status, stdout, stderr."""

    def call(*arguments: Any) -> Result:
        monkeypatch.setattr(sys, "argv", ["semblance", *map(str, arguments)])
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def answer(run: Run) -> Callable[..., Any]:
    """`answer("info", path)` -> the JSON document of a command that succeeds."""

    def call(*arguments: Any) -> Any:
        code, out, err = run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return call


@pytest.fixture
def failure(run: Run) -> Callable[..., str]:
    """`failure("info", path)` -> the one line that tells why a command failed with status 1."""

    def call(*arguments: Any) -> str:
        code, _, err = run(*arguments)
        assert code == 1, err
        assert "Traceback" not in err
        last = err.strip().splitlines()[-1]
        assert last.startswith("semblance: ")
        return last

    return call


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures in two class folders, and one file that only claims to be a picture."""
    rng = np.random.default_rng(3)
    for which in range(12):
        folder = tmp_path / "photos" / ("cats" if which % 2 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{which:02d}.png"), rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    (tmp_path / "photos" / "dogs" / "broken.jpg").write_bytes(b"no picture")
    return tmp_path / "photos"


@pytest.fixture
def gallery(run: Run, photos: Path, tiny_model: Any, tmp_path: Path) -> Path:
    """Of those photographs, in shards of five; cats are keys 0 to 5, dogs 6 to 11, the broken one is 12."""
    code, _, err = run("embed", photos, "--model", tiny_model.path, "--out", tmp_path / "g", "--shard-rows", 5)
    assert code == 0, err
    return tmp_path / "g"
