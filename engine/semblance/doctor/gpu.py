"""NVIDIA's GPUs: the devices, the driver, and which of the libraries that a GPU needs are found where.

In: the CUDA that ONNX Runtime was built for, and the root of a file system. Out: one record. Each library is loaded in
a process of its own, in the order in which ONNX Runtime looks for it: the wheels' folders, then the system's.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from semblance.doctor.fresh import Outcome, run_bounded, run_noting

# By name, the versions that a runtime of ours can need, the newest first
_LIBRARIES = {
    "libcuda": ("1",),
    "libcudart": ("13", "12"),
    "libcublasLt": ("13", "12"),
    "libcudnn": ("9",),
    "libnvinfer": ("10",),
}
_SECONDS = 20.0  # for a driver to answer; a sleeping GPU takes a few to wake


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU."""

    name: str
    memory_bytes: int | None
    compute_capability: str | None


@dataclass(frozen=True, slots=True)
class Library:
    """One shared library."""

    name: str
    path: str | None  # None: it does not load
    version: str | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Gpus:
    """What there is of NVIDIA's; all of it None or empty where there is nothing."""

    driver: str | None
    devices: tuple[Device, ...]  # of the machine
    visible: int | None  # how many of them CUDA lets this process see; None: it cannot be asked
    visible_devices: str | None  # CUDA_VISIBLE_DEVICES, which narrows them
    libraries: tuple[Library, ...]
    problems: tuple[str, ...]


def read_gpus(*, onnxruntime_cuda: str | None, root: Path = Path("/")) -> Gpus:
    """Ask the files, nvidia-smi and the driver, as far as they are here."""
    loaded = _load_all(onnxruntime_cuda) if sys.platform == "linux" else {}
    cuda = loaded["libcuda"].result if "libcuda" in loaded else None
    seen = _seen(cuda)
    smi_driver, of_smi, smi_problem = _ask_smi()
    problems = [smi_problem, cuda["problem"] if cuda else None]
    return Gpus(
        driver=smi_driver or _driver_of_files(root),
        devices=of_smi or tuple(_devices_of_files(root)) or seen or (),
        visible=None if seen is None else len(seen),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        libraries=tuple(_library(name, outcome) for name, outcome in loaded.items()),
        problems=tuple(problem for problem in problems if problem),
    )


def _load_all(onnxruntime_cuda: str | None) -> dict[str, Outcome]:
    with ThreadPoolExecutor(len(_LIBRARIES)) as pool:
        return dict(zip(_LIBRARIES, pool.map(lambda name: _load(name, onnxruntime_cuda), _LIBRARIES), strict=True))


def _load(name: str, onnxruntime_cuda: str | None) -> Outcome:
    program = Path(__file__).with_name("library.py")
    # -P: what lies in the working directory or beside the program is not imported
    return run_noting(["-P", str(program), name, *_candidates(name, onnxruntime_cuda)], seconds=_SECONDS)


def _candidates(name: str, onnxruntime_cuda: str | None) -> list[str]:
    """Of the version that ONNX Runtime was built for first."""
    major = (onnxruntime_cuda or "").partition(".")[0]
    versions = sorted(_LIBRARIES[name], key=lambda version: version != major)
    sonames = [f"{name}.so.{version}" for version in versions]
    return [candidate for soname in sonames for candidate in (*_in_wheels(soname), soname)]


def _in_wheels(soname: str) -> list[str]:
    folders = ("nvidia/*/lib", "tensorrt_libs")
    return [
        str(path) for entry in sys.path if entry for each in folders for path in Path(entry).glob(f"{each}/{soname}")
    ]


def _library(name: str, outcome: Outcome) -> Library:
    found = outcome.result
    return Library(name, found["path"] if found else None, found["version"] if found else None, outcome.problem)


def _seen(cuda: dict[str, list[dict[str, str | int]]] | None) -> tuple[Device, ...] | None:
    if cuda is None or cuda["devices"] is None:
        return None
    return tuple(
        Device(str(each["name"]), int(each["memory_bytes"]), str(each["compute_capability"]))
        for each in cuda["devices"]
    )


# ----------------------------------------------------------------------------------------------------------------------
# nvidia-smi, which stands beside the driver


def _ask_smi() -> tuple[str | None, tuple[Device, ...], str | None]:
    """The driver's version, the devices, and what is wrong."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None, (), None
    query = ["--query-gpu=driver_version,name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        ended = run_bounded([program, *query], seconds=_SECONDS)
    except OSError as error:
        return None, (), f"{program} cannot be started: {error}"
    if ended.status is None:
        return None, (), f"nvidia-smi did not answer in {_SECONDS:g} s: the driver hangs"
    rows = [[cell.strip() for cell in line.split(",")] for line in ended.text.splitlines()]
    if ended.status != 0 or not rows or any(len(row) != 4 for row in rows):
        return None, (), f"nvidia-smi fails: {' '.join(ended.text.split())[:300]}"
    devices = tuple(Device(row[1], _mebibytes(row[2]), row[3] if row[3][:1].isdigit() else None) for row in rows)
    return rows[0][0], devices, None


def _mebibytes(text: str) -> int | None:
    """Some devices share the machine's memory and say [N/A]."""
    return int(text) << 20 if text.isdigit() else None


# ----------------------------------------------------------------------------------------------------------------------
# The driver's files, which are there without nvidia-smi


def _driver_of_files(root: Path) -> str | None:
    """NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:12:12 UTC 2025"""
    try:
        first = (root / "proc/driver/nvidia/version").read_text().partition("\n")[0]
    except OSError:
        return None
    found = re.search(r"\b\d+\.\d+(\.\d+)?\b", first)
    return found[0] if found else None


def _devices_of_files(root: Path) -> Iterator[Device]:
    for file in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        for line in file.read_text().splitlines():
            field, _, value = line.partition(":")
            if field == "Model":
                yield Device(value.strip(), None, None)
