"""One of NVIDIA's libraries, loaded in a process of its own: which file it is, its version, and what the driver sees.

A program, run by its path: NAME CANDIDATE... NOTES. It loads the first candidate that can be loaded, and asks only what
needs no context on a device.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


def main(arguments: list[str]) -> None:
    """Note where the library is and what it says, or why none of the candidates loads."""
    name, *candidates, notes = arguments
    file = Path(notes)
    problems = []
    for candidate in candidates:
        file.write_text(json.dumps({"stage": f"loading {candidate}"}))
        try:
            library = ctypes.CDLL(candidate)
        except OSError as error:
            problems.append(str(error))
            continue
        found = {"path": _path_of(candidate), "version": _version(name, library), "devices": None, "problem": None}
        if name == "libcuda":
            file.write_text(json.dumps({"stage": "asking the driver for its devices"}))
            found.update(_devices())
        file.write_text(json.dumps({"result": found}))
        return
    file.write_text(json.dumps({"problem": _worst(problems)}))


def _worst(problems: list[str]) -> str:
    """A library that is there and does not load tells more than one that is not there."""
    absent = "cannot open shared object file"
    return next((each for each in problems if absent not in each), "not found")


def _path_of(candidate: str) -> str:
    """Where a loaded library was mapped from, the links in its path resolved."""
    stem = Path(candidate).name.partition(".so")[0] + ".so"  # libcuda.so.1 is a link to libcuda.so.580.65.06
    try:
        maps = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return candidate
    for line in maps:
        path = line.split(maxsplit=5)[-1]
        if path.startswith("/") and Path(path).name.startswith(stem):
            return path
    return candidate


def _version(name: str, library: Any) -> str | None:
    function, read = _VERSIONS.get(name, ("", _returned))
    if not hasattr(library, function):
        return None
    return read(getattr(library, function))


def _returned(function: Any) -> str:
    """120803 -> 12.8.3"""
    function.restype = ctypes.c_size_t
    number = int(function()) & 0xFFFFFFFF  # TensorRT's is an int, whose upper half says nothing
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _written(function: Any) -> str | None:
    """12080 -> 12.8"""
    number = ctypes.c_int(0)
    if function(ctypes.byref(number)) != 0:
        return None
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


_VERSIONS: dict[str, tuple[str, Callable[[Any], str | None]]] = {
    "libcuda": ("cuDriverGetVersion", _written),  # the newest CUDA that the driver runs
    "libcudart": ("cudaRuntimeGetVersion", _written),
    "libcublasLt": ("cublasLtGetVersion", _returned),
    "libcudnn": ("cudnnGetVersion", _returned),
    "libnvinfer": ("getInferLibVersion", _returned),
}


def _devices() -> dict[str, Any]:
    """Those that the driver lets this process see, which CUDA_VISIBLE_DEVICES can narrow."""
    from semblance.inference.backends import nvidia  # only the driver's process takes the time to import it

    driver = nvidia.driver()
    if driver is None:
        return {}
    devices = [
        {
            "name": each.name,
            "memory_bytes": each.memory_bytes,
            "compute_capability": ".".join(map(str, each.capability)),
        }
        for each in driver.devices
    ]
    if driver.failure == _NO_DEVICE:
        return {"devices": devices, "problem": "the driver finds no GPU: CUDA error 100"}
    problem = f"the driver does not start: CUDA error {driver.failure}" if driver.failure else None
    return {"devices": devices, "problem": problem}


if __name__ == "__main__":
    main(sys.argv[1:])
