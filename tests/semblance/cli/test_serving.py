"""`semblance serve` on the command line: its options are the settings, and a secret is none of them."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import semblance.service.run
from semblance.service.settings import Settings
from semblance.service.sources import load

TOKEN = "a-token-of-many-characters"


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("SEMBLANCE_SERVE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def told(run: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`told("--port", 1)` -> the settings that would be served."""

    def call(*arguments: Any) -> Settings:
        given = list[Settings]()
        monkeypatch.setattr(semblance.service.run, "run", lambda settings: given.append(settings) or 0)
        code, _, err = run("serve", *arguments)
        assert code == 0, err
        return given[0]

    return call


def test_every_setting_but_a_secret_is_an_option(run: Any) -> None:
    code, out, err = run("serve", "--help")
    assert code == 0
    said = out + err
    for each in fields(Settings):
        name = f"--{each.name.replace('_', '-')}"
        if each.metadata["secret"]:
            assert not re.search(rf"{name}\b(?!-)", said)
        elif each.name != "gallery":
            assert name in said, name
    code, _, err = run("serve", "-m", "siamese", "--token", TOKEN)
    assert code == 2
    assert "No such option" in err


def test_options_of_every_kind(told: Any, tmp_path: Path) -> None:
    settings = told(
        tmp_path, "-m", "siamese", "--port", 0, "--max-delay-ms", 0.5, "--no-page", "--read-only", "--devices", 0,
        "--devices", 1, "--root", tmp_path, "--allow-host", "a.example", "--allow-host", "b.example",
    )  # fmt: skip
    assert settings == Settings(
        gallery=tmp_path, model="siamese", port=0, max_delay_ms=0.5, page=False, read_only=True, devices=(0, 1),
        root=(tmp_path,), allow_host=("a.example", "b.example"),
    )  # fmt: skip


def test_what_is_not_said_is_the_default(told: Any) -> None:
    assert told("-m", "siamese") == Settings(model="siamese")


def test_a_flag_comes_before_the_environment(told: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEMBLANCE_SERVE_PORT", "17")
    monkeypatch.setenv("SEMBLANCE_SERVE_READ_ONLY", "true")
    (tmp_path / "serve.toml").write_text("port = 7\nstreams = 2\nread-only = true\n")
    settings = told("-m", "siamese", "--config", tmp_path / "serve.toml", "--no-read-only")
    assert (settings.port, settings.streams, settings.read_only) == (17, 2, False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "nothing to serve"),
        (("-m", "siamese", "--port", 65_536), "port must be in"),
        (("-m", "siamese", "--host", "0.0.0.0"), "there is no token"),
        (("-m", "siamese", "--config", "none.toml"), "cannot be read"),
        (("-m", "no-such-model-at-all"), "no-such-model-at-all"),
        (("-m", "siamese", "--port", "0", "--token-file", "none"), "token_file none cannot be read"),
        (("none.gallery", "--port", "0"), "none.gallery"),
    ],
)
def test_mistakes_are_told_in_one_line(
    failure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("semblance.service.run._configure_logs", lambda _: None)
    assert expected in failure("serve", *arguments)


def test_a_misspelt_variable_is_told(failure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_SERVE_MAX_BACH", "1")
    assert "did you mean max-batch" in failure("serve", "-m", "siamese")


def test_the_configuration_is_shown_as_a_file_without_secrets(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEMBLANCE_SERVE_TOKEN", TOKEN)
    code, out, err = run("serve", "-m", "siamese", "--max-batch", 4, "--show-config")
    assert code == 0
    assert TOKEN not in out + err
    (tmp_path / "shown.toml").write_text(out)
    again, _ = load({}, {"SEMBLANCE_SERVE_TOKEN": TOKEN}, tmp_path / "shown.toml")
    assert again == Settings(model="siamese", max_batch=4, token=TOKEN)


def test_without_what_it_needs_it_says_so(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def absent(name: str, *rest: Any, **options: Any) -> Any:
        if name == "semblance.service.run":
            raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    code, _, err = run("serve", "-m", "siamese")
    assert code == 1
    assert "needs uvicorn" in err
    assert "semblance[serve]" in err
