"""NVIDIA's devices, driver and libraries: made-up files and nvidia-smi, and small libraries built for the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from semblance.doctor import gpu
from semblance.doctor.gpu import Device, Gpus, read_gpus

MakeRoot = Callable[[dict[str, str]], Path]

_PATH = os.environ.get("PATH", os.defpath)

VERSION = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:12:12 UTC 2025\nGCC version: 12\n"
OPEN_VERSION = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (builder)\n"
INFORMATION = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 44\nBus Location: \t 0000:01:00.0\n"

DRIVER = """
#include <string.h>
int cuDriverGetVersion(int* version) { *version = 13000; return 0; }
int cuInit(unsigned flags) { return INIT; }
int cuDeviceGetCount(int* count) { *count = 2; return 0; }
int cuDeviceGet(int* device, int number) { *device = number; return 0; }
int cuDeviceGetName(char* name, int size, int device) { strncpy(name, device ? "Second" : "First", size); return 0; }
int cuDeviceTotalMem_v2(unsigned long* size, int device) { *size = 1ul << 36; return 0; }
int cuDeviceGetAttribute(int* value, int which, int device) { *value = which == 75 ? 9 : 0; return 0; }
"""


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """`wheels("libcudnn.so.9", source)` builds a library where NVIDIA's wheels put theirs."""
    compiler = shutil.which("cc", path=_PATH)
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler here, so there is no library to load")
    monkeypatch.syspath_prepend(tmp_path / "site")

    def build(soname: str, source: str) -> Path:
        folder = tmp_path / "site/nvidia/made_up/lib"
        folder.mkdir(parents=True, exist_ok=True)
        code = tmp_path / f"{soname}.c"
        code.write_text(source)
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", folder / soname, code]
        subprocess.run(command, check=True, env={**os.environ, "PATH": _PATH})
        return folder / soname

    return build


@pytest.fixture(autouse=True)
def _no_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def _smi(tmp_path: Path, script: str) -> None:
    (tmp_path / "bin/nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin/nvidia-smi").chmod(0o755)


def _without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_LIBRARIES", {"libmade_up": ("1",)})


def _library(gpus: Gpus, name: str) -> gpu.Library:
    return next(each for each in gpus.libraries if each.name == name)


# ----------------------------------------------------------------------------------------------------------------------
# Files and nvidia-smi


def test_a_machine_without_any(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _without_libraries(monkeypatch)
    gpus = read_gpus(onnxruntime_cuda=None, root=tmp_path)
    assert (gpus.driver, gpus.devices, gpus.visible, gpus.problems) == (None, (), None, ())
    if sys.platform == "linux":
        assert [(each.name, each.path, each.problem) for each in gpus.libraries] == [("libmade_up", None, "not found")]


@pytest.mark.parametrize(("text", "driver"), [(VERSION, "580.65.06"), (OPEN_VERSION, "580.95.05")])
def test_the_drivers_files(monkeypatch: pytest.MonkeyPatch, make_root: MakeRoot, text: str, driver: str) -> None:
    _without_libraries(monkeypatch)
    files = {"proc/driver/nvidia/version": text, "proc/driver/nvidia/gpus/0000:01:00.0/information": INFORMATION}
    gpus = read_gpus(onnxruntime_cuda=None, root=make_root(files))
    assert gpus.driver == driver
    assert gpus.devices == (Device("NVIDIA H100 80GB HBM3", None, None),)


def test_nvidia_smi_tells_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _without_libraries(monkeypatch)
    _smi(tmp_path, "echo '580.65.06, NVIDIA H100, 81559, 9.0'; echo '580.65.06, NVIDIA Thor, [N/A], 11.0'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    gpus = read_gpus(onnxruntime_cuda=None, root=tmp_path)
    assert gpus.driver == "580.65.06"
    assert gpus.devices == (Device("NVIDIA H100", 81559 << 20, "9.0"), Device("NVIDIA Thor", None, "11.0"))
    assert gpus.visible_devices == "1"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", "version mismatch"),
        ("echo No devices were found", "No devices were found"),
        (f"{shutil.which('sleep')} 600", "did not answer in 1 s"),
    ],
)
def test_nvidia_smi_that_fails_or_hangs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, told: str
) -> None:
    _without_libraries(monkeypatch)
    if "sleep" in script:
        monkeypatch.setattr(gpu, "_load_all", lambda cuda: {})
        monkeypatch.setattr(gpu, "_SECONDS", 1.0)
    _smi(tmp_path, script)
    gpus = read_gpus(onnxruntime_cuda=None, root=tmp_path)
    assert gpus.devices == ()
    (problem,) = gpus.problems
    assert told in problem


def test_nvidia_smi_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _without_libraries(monkeypatch)
    (tmp_path / "bin/nvidia-smi").write_bytes(b"\x7fELF of another machine")
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    (problem,) = read_gpus(onnxruntime_cuda=None, root=tmp_path).problems
    assert "nvidia-smi cannot be started" in problem


# ----------------------------------------------------------------------------------------------------------------------
# Libraries


def test_libraries_say_where_they_are_and_their_versions(wheels: Callable[[str, str], Path], tmp_path: Path) -> None:
    cudnn = wheels("libcudnn.so.9", "unsigned long cudnnGetVersion(void) { return 91301; }")
    runtime = wheels("libcudart.so.12", "int cudaRuntimeGetVersion(int* version) { *version = 12080; return 0; }")
    wheels("libnvinfer.so.10", "int getInferLibVersion(void) { return 101303; }")
    gpus = read_gpus(onnxruntime_cuda="12.8", root=tmp_path)
    assert (_library(gpus, "libcudnn").path, _library(gpus, "libcudnn").version) == (str(cudnn), "9.13.1")
    assert (_library(gpus, "libcudart").path, _library(gpus, "libcudart").version) == (str(runtime), "12.8")
    assert _library(gpus, "libnvinfer").version == "10.13.3"
    assert gpus.problems == ()


def test_the_cuda_that_onnxruntime_wants_is_looked_for_first(
    wheels: Callable[[str, str], Path], tmp_path: Path
) -> None:
    for major in (12, 13):
        source = f"int cudaRuntimeGetVersion(int* version) {{ *version = {major}000; return 0; }}"
        wheels(f"libcudart.so.{major}", source)
    for wanted in ("12.8", "13.0"):
        gpus = read_gpus(onnxruntime_cuda=wanted, root=tmp_path)
        assert _library(gpus, "libcudart").version == f"{wanted[:2]}.0"


def test_a_library_that_crashes_as_it_loads_is_told_as_such(wheels: Callable[[str, str], Path], tmp_path: Path) -> None:
    source = "#include <stdlib.h>\n__attribute__((constructor)) static void begin(void) { abort(); }"
    path = wheels("libcudnn.so.9", source)
    library = _library(read_gpus(onnxruntime_cuda=None, root=tmp_path), "libcudnn")
    assert (library.path, library.problem) == (None, f"the process died of SIGABRT while loading {path}")


def test_a_library_that_lacks_another_is_told_as_such(wheels: Callable[[str, str], Path], tmp_path: Path) -> None:
    path = wheels("libcudnn.so.9", "int x;")
    path.write_bytes(b"no library")
    problem = _library(read_gpus(onnxruntime_cuda=None, root=tmp_path), "libcudnn").problem
    assert problem is not None
    assert problem.startswith(str(path))


def test_the_driver_counts_the_devices_it_lets_us_see(wheels: Callable[[str, str], Path], tmp_path: Path) -> None:
    wheels("libcuda.so.1", DRIVER.replace("INIT", "0"))
    gpus = read_gpus(onnxruntime_cuda=None, root=tmp_path)
    assert gpus.visible == 2
    assert gpus.devices == (Device("First", 1 << 36, "9.0"), Device("Second", 1 << 36, "9.0"))
    assert _library(gpus, "libcuda").version == "13.0"


@pytest.mark.parametrize(("code", "told"), [(100, "the driver finds no GPU"), (999, "CUDA error 999")])
def test_a_driver_that_does_not_start(wheels: Callable[[str, str], Path], tmp_path: Path, code: int, told: str) -> None:
    wheels("libcuda.so.1", DRIVER.replace("INIT", str(code)))
    gpus = read_gpus(onnxruntime_cuda=None, root=tmp_path)
    assert (gpus.visible, gpus.devices) == (0, ())
    (problem,) = gpus.problems
    assert told in problem
