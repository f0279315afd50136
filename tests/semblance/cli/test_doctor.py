"""`doctor` on this machine, whatever it has, and on made-up ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import semblance.doctor
from semblance.doctor import Report
from semblance.doctor.gpu import Device, Gpus, Library
from semblance.doctor.installed import Installed
from semblance.doctor.processor import Feature, Processor
from semblance.doctor.trials import AutoChoice, BackendTrial, Placement
from semblance.inference import backends

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was tuned on this machine decides nothing here, in the processes of trials either."""
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "home"))


def _made_up() -> Report:
    gpus = Gpus(
        driver="580.65.06",
        devices=(Device("NVIDIA H100", 80 << 30, "9.0"),),
        visible=0,
        visible_devices="",
        libraries=(
            Library("libcuda", "/usr/lib/libcuda.so.1", "13.0", None),
            Library("libcudnn", None, None, "the process died of SIGABRT while loading libcudnn.so.9"),
        ),
        problems=("nvidia-smi fails: [Unknown Error]",),
    )
    processor = Processor(
        model="A Processor",
        processors=64,
        threads=8,
        quota=1.5,
        memory_bytes=64 << 30,
        memory_limit_bytes=4 << 30,
        features=(Feature("AVX2", ("avx2",)), Feature("AMX", ())),
        follows=("int8 gains little here",),
    )
    return Report(
        semblance="0.1.0",
        python="3.11.7",
        executable="/usr/bin/python",
        platform="Linux",
        machine="x86_64",
        installed=Installed({"onnxruntime-gpu": "1.31.1"}, "13.0", ("two wheels overwrite each other",)),
        processor=processor,
        gpus=gpus,
        backends=(
            BackendTrial("cpu", "onnxruntime-gpu 1.31.1", True, None, "d", 70.0, 256, 4321.0, 0.0),
            BackendTrial("cuda", "onnxruntime-gpu 1.31.1", False, "[no] GPU :smile:", None, None, None, None, None),
            BackendTrial("openvino", "", False, "no wheel", None, None, None, None, None),
        ),
        auto=AutoChoice("siamese", "cpu", "it starts soonest", None),
        nodes=(
            Placement("cuda", "CUDAExecutionProvider", 17, {"Conv": 16, "Gemm": 1}, None),
            Placement("cuda", "CPUExecutionProvider", 2, {"TopK": 2}, None),
            Placement("cpu", None, 0, {}, "of no use with this model"),
            Placement("openvino", None, 0, {}, "no wheel"),
        ),
    )


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Report:
    """The machine that is examined instead of this one."""
    report = _made_up()
    monkeypatch.setattr(semblance.doctor, "examine", lambda model, **told: report)
    return report


# ----------------------------------------------------------------------------------------------------------------------
# Here


def test_this_machine_as_json(answer: Any) -> None:
    found = answer("doctor", "--nodes", "--model", "autoencoder", "--require", "cpu")
    assert [trial["name"] for trial in found["backends"]] == backends.names()[1:]
    cpu = found["backends"][0]
    assert cpu["works"]
    assert cpu["images_per_sec"] > 0
    assert found["auto"]["model"] == "autoencoder"
    assert found["auto"]["backend"] in backends.names()
    assert found["processor"]["threads"] >= 1
    assert {row["backend"] for row in found["nodes"]} == set(backends.names()[1:])
    cuda = next(trial for trial in found["backends"] if trial["name"] == "cuda")
    assert cuda["works"] or "cuda" in cuda["problem"]


def test_a_required_backend_decides_the_status(run: Run) -> None:
    code, out, err = run("doctor", "--require", "cuda", "--require", "cpu", "--json")
    cuda = next(trial for trial in json.loads(out)["backends"] if trial["name"] == "cuda")
    if cuda["works"]:
        assert code == 0
    else:
        assert code == 1
        assert err.splitlines()[-1] == f"semblance: cuda is required and does not work: {cuda['problem']}"


def test_what_nobody_can_mean_is_told_at_once(failure: Any, run: Run) -> None:
    assert "unknown backend 'cudaa'; there are: cpu" in failure("doctor", "--require", "cudaa")
    assert "unknown model 'resnt'" in failure("doctor", "--model", "resnt")
    assert run("doctor", "--timeout", 0)[0] == 2


# ----------------------------------------------------------------------------------------------------------------------
# Elsewhere


@pytest.mark.usefixtures("made_up")
def test_everything_is_said_in_a_hundred_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    code, out, err = run("doctor", "--nodes")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    text = re.sub(r"[│┃\s]+", " ", out)
    for said in (
        "onnxruntime-gpu 1.31.1", "clash two wheels", "threads 8 of 64, for 1.5 processors' worth of time",
        "memory 4.0 GiB of 64.0 GiB", "has AVX2", "has not AMX", "so int8 gains little here", "driver 580.65.06",
        "device NVIDIA H100, 80.0 GiB, compute capability 9.0", "CUDA_VISIBLE_DEVICES '': CUDA sees 0",
        "ONNX Runtime is built for CUDA 13.0", "libcuda 13.0, /usr/lib/libcuda.so.1",
        "libcudnn the process died of SIGABRT", "problem nvidia-smi fails: [Unknown Error]",
        "cpu onnxruntime-gpu 1.31.1 yes 70 4,321", "cuda: [no] GPU :smile:", "openvino not installed no",
        "cuda CUDAExecutionProvider 17 16 Conv, Gemm", "cuda CPUExecutionProvider 2 2 TopK",
        "cpu of no use with this model",
        "auto takes cpu for siamese: it starts soonest",
    ):  # fmt: skip
        assert said in text
    assert text.count("no wheel") == 1  # once is enough


def test_causes_can_be_required_of_made_up_machines(failure: Any, made_up: Report) -> None:
    assert failure("doctor", "--require", "cuda").endswith(f"does not work: {made_up.backends[1].problem}")


def test_a_machine_on_which_nothing_works(run: Run, monkeypatch: pytest.MonkeyPatch, made_up: Report) -> None:

    tried = tuple(replace(trial, works=False, problem=f"{trial.name} is broken") for trial in made_up.backends)
    auto = AutoChoice("siamese", None, "", "no backend runs this model here")
    nothing = replace(made_up, backends=tried, auto=auto, nodes=None)
    monkeypatch.setattr(semblance.doctor, "examine", lambda model, **told: nothing)
    code, out, err = run("doctor")
    assert code == 1
    assert "auto has no backend for siamese: no backend runs this model here" in out
    assert "no backend works here, not even cpu: cpu is broken" in err


@pytest.mark.parametrize(("path", "told"), [("/usr/lib/libcuda.so.1", "of unknown version"), (None, "none")])
def test_a_driver_that_nobody_tells_the_version_of(
    run: Run, monkeypatch: pytest.MonkeyPatch, made_up: Report, path: str | None, told: str
) -> None:
    library = Library("libcuda", path, "13.0", None)
    gpus = replace(made_up.gpus, driver=None, libraries=(library,))
    monkeypatch.setattr(semblance.doctor, "examine", lambda model, **told: replace(made_up, gpus=gpus))
    out = re.sub(r"[│┃\s]+", " ", run("doctor")[1])
    assert f"driver {told} device" in out
