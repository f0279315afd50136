"""Made-up file systems: what /proc and the cgroups of other machines say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

MakeRoot = Callable[[dict[str, str]], Path]


@pytest.fixture
def make_root(tmp_path: Path) -> MakeRoot:
    """`make_root({"proc/cpuinfo": text})` -> the folder that is taken for /."""

    def make(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "root"

    return make
