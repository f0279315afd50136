"""Which NVIDIA GPU there is, and what figures depend on: driver, clocks, power limit, memory.

In: the machine. Out: a `Gpu`, or what was looked for in vain. Asks nvidia-smi where there is one; a container may have
the CUDA driver without it, so that libcuda.so.1 is asked as well. Imports the standard library only, and `python -m
bench.gpu_check.device` exits with 0 where there is a GPU and with 3 where there is none, so that nothing needs to be
installed to find that out.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

NONE_HERE = 3  # exit status
LIBRARY = "libcuda.so.1"
LOOKED_FOR = f"nvidia-smi on PATH, and a device of {LIBRARY}"

# Fields of `nvidia-smi --query-gpu`, and what they are called here
_FIELDS = {
    "name": "name",
    "driver_version": "driver",
    "compute_cap": "compute_capability",
    "memory.total": "memory_total_mib",
    "memory.used": "memory_used_mib",
    "clocks.sm": "clock_sm_mhz",
    "clocks.max.sm": "clock_sm_max_mhz",
    "clocks.mem": "clock_memory_mhz",
    "power.limit": "power_limit_w",
    "power.draw": "power_w",
    "temperature.gpu": "temperature_c",
    "persistence_mode": "persistence_mode",
    "mig.mode.current": "mig_mode",
}
_TIMEOUT_S = 30
# Of cuInit where there is none to use: all is well, the stand-in library of machines that only build, CUDA's own words
# for it. Any other status is of a driver that fails, which is no reason to say that all is well
_NO_DEVICE = (0, 34, 100)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device; None is what could not be found out."""

    name: str
    driver: str | None
    driver_cuda: str | None  # the newest CUDA that the driver runs
    facts: dict[str, str | None]  # of nvidia-smi, as it says them
    trouble: str | None = None  # why CUDA does not see what nvidia-smi lists

    def as_json(self) -> dict[str, Any]:
        """Everything, for the result."""
        return asdict(self)


def find_gpu() -> Gpu | None:
    """The device that CUDA calls 0, or None; one with `trouble` where there is a driver and it does not start."""
    if is_hidden():
        return None
    facts = smi_facts()
    driver = _Driver.open()
    if facts is None and (driver is None or (driver.num_devices == 0 and driver.status in _NO_DEVICE)):
        return None
    trouble = None
    if driver is not None and driver.num_devices == 0:
        what = "nvidia-smi lists it and CUDA does not" if facts else "its driver does not start"
        trouble = f"{what}: cuInit gives {driver.status}"
    name = (facts or {}).get("name") or (driver.name if driver is not None else None)
    return Gpu(
        name=name or "NVIDIA GPU",
        driver=(facts or {}).get("driver"),
        driver_cuda=driver.cuda if driver is not None else None,
        facts=facts or {},
        trouble=trouble,
    )


def is_hidden() -> bool:
    """Whether CUDA_VISIBLE_DEVICES shows no device to this process."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named is not None and named.split(",")[0].strip() in ("", "-1", "NoDevFiles")


def none_found() -> str:
    """What a machine without a GPU is told, in one line."""
    hidden = "; CUDA_VISIBLE_DEVICES hides all devices" if is_hidden() else ""
    failing = "; nvidia-smi is here and names none" if shutil.which("nvidia-smi") and not hidden else ""
    return f"no NVIDIA GPU here (looked for: {LOOKED_FOR}{hidden}{failing}): nothing was checked and nothing measured"


def smi_facts() -> dict[str, str | None] | None:
    """What nvidia-smi says of device 0; None where it is not there or does not answer."""
    answer = ask_smi(list(_FIELDS))
    if answer is None:  # an older one knows fewer fields, and answers none if one is unknown
        known = {field: ask_smi([field]) for field in _FIELDS}
        answer = [(values or [None])[0] for values in known.values()]
        if answer[0] is None:
            return None
    return dict(zip(_FIELDS.values(), answer, strict=True))


def ask_smi(fields: list[str]) -> list[str | None] | None:
    """The values of `fields` for device 0, "[N/A]" as None; None where nvidia-smi cannot tell."""
    command = smi_command(fields)
    if command is None:
        return None
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = ended.stdout.strip().splitlines()
    if ended.returncode != 0 or not lines:
        return None
    values = [value.strip() for value in lines[0].split(",")]
    if len(values) != len(fields):
        return None
    return [None if value.startswith("[") or value == "N/A" else value for value in values]


def smi_command(fields: list[str], *more: str) -> list[str] | None:
    """The nvidia-smi command that prints `fields` of device 0 as one line of CSV; None where there is no nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    # It takes what CUDA_VISIBLE_DEVICES takes, a number or a UUID, and knows nothing of that variable itself
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    return [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", "-i", device, *more]


class _Driver:
    """The CUDA driver's own library."""

    def __init__(self, library: Any) -> None:
        self._library = library
        count = ctypes.c_int(0)
        self.status = library.cuInit(0)  # 803: a library older than the driver, and so on
        is_ready = self.status == 0 and library.cuDeviceGetCount(ctypes.byref(count)) == 0
        self.num_devices = count.value if is_ready else 0

    @classmethod
    def open(cls) -> _Driver | None:
        """None where the library is not there."""
        try:
            return cls(ctypes.CDLL(LIBRARY))
        except OSError:
            return None

    @property
    def name(self) -> str | None:
        """Of device 0."""
        device, text = ctypes.c_int(0), ctypes.create_string_buffer(256)
        if self._library.cuDeviceGet(ctypes.byref(device), 0) != 0:
            return None
        return text.value.decode() if self._library.cuDeviceGetName(text, len(text), device) == 0 else None

    @property
    def cuda(self) -> str | None:
        """The newest CUDA that it runs, as "13.0"."""
        version = ctypes.c_int(0)
        if self._library.cuDriverGetVersion(ctypes.byref(version)) != 0:
            return None
        return f"{version.value // 1000}.{version.value % 1000 // 10}"


def main() -> int:
    """Tell where there is none; the exit status says which."""
    if find_gpu() is None:
        print(none_found())
        return NONE_HERE
    return 0


if __name__ == "__main__":
    sys.exit(main())
