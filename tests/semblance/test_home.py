"""The folder for downloads and exports."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from semblance.home import home


def test_the_environment_names_it_or_the_platform_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "not-yet"))
    assert home() == tmp_path / "not-yet"
    assert not home().exists()
    monkeypatch.setenv("SEMBLANCE_HOME", "~/mine")
    assert home() == Path.home() / "mine"
    for unset in ("", None):
        monkeypatch.setenv("SEMBLANCE_HOME", unset) if unset is not None else monkeypatch.delenv("SEMBLANCE_HOME")
        assert home() == platformdirs.user_cache_path("semblance", appauthor=False)
