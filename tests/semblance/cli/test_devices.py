"""Flags of GPUs: what they mean, and that they are refused where they mean nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from semblance.cli.devices import gpu_options, parse_bytes, parse_devices
from semblance.errors import InputError
from semblance.inference.backends.options import GpuOptions
from semblance.inference.encoder import Encoder

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("1", 1), ("512", 512), ("4G", 4 << 30), ("4g", 4 << 30), ("1.5G", 3 << 29), ("10M", 10 << 20), ("2K", 2048)],
)
def test_bytes(text: str, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize("text", ["", "0", "0G", "0.5", "-1G", "4GB", "4 G", "G", "1e9", "many", "4T", "٤G", "1.G"])
def test_what_is_no_number_of_bytes(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="as 4G"):
        parse_bytes(text)


@pytest.mark.parametrize(("text", "devices"), [("0", (0,)), ("1", (1,)), ("0,1", (0, 1)), ("3,1,12", (3, 1, 12))])
def test_devices(text: str, devices: tuple[int, ...]) -> None:
    assert parse_devices(text) == devices


@pytest.mark.parametrize("text", ["", ",", "0,", "0, 1", "-1", "a", "0;1", "0.5"])
def test_what_is_no_list_of_devices(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="as 0,1"):
        parse_devices(text)


def test_options_are_there_where_one_was_given() -> None:
    assert gpu_options(None, False, None) is None
    assert gpu_options("0", False, None) == GpuOptions()
    assert gpu_options(None, True, None) == GpuOptions(tf32=True)
    assert gpu_options("1,0", True, "2K") == GpuOptions(devices=(1, 0), tf32=True, memory_limit_bytes=2048)
    with pytest.raises(InputError, match="each device once"):
        gpu_options("1,1", False, None)


@pytest.mark.parametrize("flag", [("--devices", "0"), ("--tf32",), ("--gpu-memory", "1G")])
@pytest.mark.parametrize("backend", ["cpu", "openvino", "auto"])
def test_they_mean_nothing_to_a_cpu_and_that_is_told(
    failure: Any, gallery: Path, photos: Path, tiny_model: Any, tmp_path: Path, backend: str, flag: tuple[str, ...]
) -> None:
    how = ("--model", tiny_model.path, "--backend", backend, *flag)
    for command in (
        ("embed", photos, "--out", tmp_path / "new"), ("add", gallery, photos / "cats"),
        ("search", gallery, photos / "cats" / "01.png"),
    ):  # fmt: skip
        assert "options that mean nothing to the backend" in failure(*command, *how)
    assert not (tmp_path / "new").exists()


def test_commands_that_run_no_model_refuse_them(run: Run, gallery: Path) -> None:
    for flag in (("--devices", "0"), ("--tf32",), ("--gpu-memory", "1G"), ("--no-spinning",)):
        code, _, err = run("search", gallery, "--key", 1, *flag)
        assert code == 2
        assert "leave them out" in " ".join(err.replace("│", " ").split())


def test_they_reach_the_session(
    run: Run, gallery: Path, photos: Path, tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, Any]] = []
    load = Encoder.load

    def spy(model: Any, *, gpu: GpuOptions | None = None, spinning: bool = True, **options: Any) -> Encoder:
        given.append({"gpu": gpu, "spinning": spinning})
        return load(model, **options)

    monkeypatch.setattr(Encoder, "load", spy)
    flags = ("--model", tiny_model.path, "--devices", "0,1", "--tf32", "--gpu-memory", "1M", "--no-spinning")
    for command in (
        ("embed", photos, "--out", tmp_path / "new"), ("add", gallery, photos / "cats"),
        ("search", gallery, photos / "cats" / "01.png"),
    ):  # fmt: skip
        code, _, err = run(*command, *flags)
        assert code == 0, err
    expected = GpuOptions(devices=(0, 1), tf32=True, memory_limit_bytes=1 << 20)
    assert given == [{"gpu": expected, "spinning": False}] * 3


def test_threads_that_do_not_spin_embed_the_same(answer: Any, photos: Path, tiny_model: Any, tmp_path: Path) -> None:
    embed = ("embed", photos, "--model", tiny_model.path)
    answer(*embed, "--out", tmp_path / "a", "--no-spinning")
    answer(*embed, "--out", tmp_path / "b")
    shards = [[shard.read_bytes() for shard in sorted((tmp_path / name / "shards").iterdir())] for name in "ab"]
    assert shards[0] == shards[1]
