"""The program itself: its version, its help, and usage errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import semblance

Run = Callable[..., tuple[int, str, str]]

COMMANDS = [
    "embed", "add", "search", "duplicates", "recall", "match", "remove", "compact", "rebuild", "verify", "export",
    "serve", "info", "models", "tune", "demo", "doctor",
]  # fmt: skip


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"{semblance.__version__}\n", "")


def test_every_command_has_its_help(run: Run) -> None:
    listed = run("--help")[1]
    assert re.findall(r"^│ (\w+) ", listed, re.MULTILINE) == COMMANDS
    for command in COMMANDS:
        code, out, _ = run(command, "--help")
        assert code == 0
        assert f"semblance {command}" in out
        assert "--json" in out or command == "serve"  # which goes on and gives no one result


@pytest.mark.parametrize(
    "arguments",
    [
        ["embed"], ["search"], ["nonsense"], ["embed", "x", "--batch", "0", "--out", "y"], ["search", "g"],
        ["search", "g", "x.png", "--key", "1"], ["remove", "g"], ["duplicates", "g"], ["recall", "g", "--min", "2"],
    ],
)  # fmt: skip
def test_usage_errors_have_status_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments)[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "{}", "."], ["remove", "{}", "--key", "1"], ["compact", "{}"], ["rebuild", "{}"], ["verify", "{}"],
        ["export", "{}", "x.npy"], ["info", "{}"], ["duplicates", "{}", "-d", "0"], ["recall", "{}"],
        ["search", "{}", "--key", "1"],
    ],
)  # fmt: skip
def test_a_place_without_a_gallery_is_told_and_left_alone(
    failure: Callable[..., str], tmp_path: Path, arguments: list[str], photos: Path
) -> None:
    for path in (tmp_path / "nowhere", photos):
        before = sorted(tmp_path.rglob("*"))
        named = [path if argument == "{}" else photos if argument == "." else argument for argument in arguments]
        assert str(path) in failure(*named)
        assert sorted(tmp_path.rglob("*")) == before
