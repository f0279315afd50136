"""What the NVIDIA driver says of this machine: whether there is one, how new it is, and which GPUs it drives.

In: nothing. Out: a record, read from the driver's own library, which takes no context and no memory of any GPU. So the
reasons for which a GPU cannot be used are known before a runtime is asked, which would put them into a log at best.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

_LIBRARY = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
# CUdevice_attribute in cuda.h: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_MAJOR, _MINOR = 75, 76


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU, as the driver counts them: CUDA_VISIBLE_DEVICES has been applied."""

    name: str
    capability: tuple[int, int]  # of its instructions: 7.0 has tensor cores for fp16, 8.0 for TF32 and bf16
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Driver:
    """An installed driver."""

    cuda: tuple[int, int]  # the newest version of CUDA whose programs it runs
    devices: tuple[Device, ...] = ()
    failure: int = 0  # CUresult of its initialisation: 100 is "no GPU"; 0 where it went well


def driver() -> Driver | None:
    """The driver of this machine; None where its library is not there."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    version = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    cuda = (version.value // 1000, version.value % 1000 // 10)  # 13020 is 13.2
    failure = library.cuInit(0)
    if failure:
        return Driver(cuda, failure=failure)
    num_devices = ctypes.c_int()
    library.cuDeviceGetCount(ctypes.byref(num_devices))
    return Driver(cuda, tuple(_device(library, number) for number in range(num_devices.value)))


def device(number: int) -> Device | None:
    """The GPU of that number; None where there is none."""
    found = driver()
    return found.devices[number] if found is not None and number < len(found.devices) else None


def _device(library: ctypes.CDLL, number: int) -> Device:
    handle, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    library.cuDeviceGet(ctypes.byref(handle), number)
    library.cuDeviceGetName(name, len(name), handle)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, handle)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, handle)
    return Device(name.value.decode(errors="replace"), (major.value, minor.value), memory.value)
