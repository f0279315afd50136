"""Why a backend cannot run here and what mends it: from the state of the machine, or from what ONNX Runtime says.

In: a row, the number of a device, an error's text. Out: a cause and its remedy. ONNX Runtime logs most of these and
goes on without the provider, so they are looked for before a session is opened; what only opening or running finds is
recognised by the words of CUDA's own errors.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from semblance.errors import BackendError
from semblance.inference.backends import libraries, nvidia
from semblance.inference.backends.providers import Provider
from semblance.inference.backends.wheels import installed_wheels, onnxruntime

_DRIVERS = "https://www.nvidia.com/drivers"
_ROCM = "/opt/rocm"
_SYSTEMS = {"Darwin": "macOS"}


@dataclass(frozen=True, slots=True)
class Cause:
    """What is wrong, and the command or change that mends it."""

    what: str
    remedy: str

    def error(self, row: Provider) -> BackendError:
        """As one line: what was asked for, why it cannot be, and what to do."""
        return BackendError(f"backend {row.name!r} cannot run here: {self.what}; {self.remedy}")


def before(row: Provider, device: int) -> Cause | None:
    """What keeps `row` from running on the GPU of that number, found without opening a session; None: nothing."""
    ort = onnxruntime()
    system = platform.system()
    if system not in row.systems:
        named = " and ".join(_SYSTEMS.get(each, each) for each in row.systems)
        return Cause(f"{row.provider} exists for {named} only, and this is {_SYSTEMS.get(system, system)}",
                     f"take {_others(row)}")  # fmt: skip
    absent = [_not_in_wheel(row)] if row.provider not in ort.get_available_providers() else []
    if lacking := _lacking(row):
        return _both(lacking, *absent)
    if absent:
        return absent[0]
    if row.memory == "cuda":
        return _of_driver(nvidia.driver(), device) or _missing(libraries.load(row.name))
    return None


def of_text(text: str) -> Cause | None:
    """What an error of ONNX Runtime means, where its words are known."""
    for words, cause in _KNOWN:
        if re.search(words, text, re.IGNORECASE):
            return cause
    if found := re.search(r"([\w.+-]+\.(?:so[.\d]*|dll))\W+cannot open shared object", text):
        return _missing(found[1])
    if found := re.search(r"CUDA failure (\d+): ([^;]+?) ;", text):
        return Cause(f"CUDA says: {found[2]} (error {found[1]})", "see `semblance doctor` and nvidia-smi")
    return None


def not_started(row: Provider) -> Cause:
    """ONNX Runtime opened a session and left the provider out; the reason is in its log alone."""
    return Cause(
        f"ONNX Runtime could not start {row.provider}, and would have gone on without it",
        "it logged the reason to stderr, see there and `semblance doctor`",
    )


def _not_in_wheel(row: Provider) -> Cause:
    ort = onnxruntime()
    wheels = installed_wheels()
    what = f"the installed {' and '.join(wheels) or 'onnxruntime'} {ort.__version__} has no {row.provider}"
    # all wheels bring a package of the same name, and the last one installed overwrites the others' files
    removal = f"pip uninstall -y {' '.join(wheels)} && " if wheels else ""
    return Cause(f"{what} (it has {', '.join(ort.get_available_providers())})", removal + row.install)


def _lacking(row: Provider) -> Cause | None:
    """What the machine lacks, whatever is installed in Python."""
    rocm = os.environ.get("ROCM_PATH", _ROCM)
    if row.name == "migraphx" and not Path(rocm).is_dir():
        return Cause(f"this machine has no ROCm, which drives AMD GPUs (no {rocm})",
                     "install ROCm with MIGraphX (https://rocm.docs.amd.com)")  # fmt: skip
    if row.memory != "cuda" or nvidia.driver() is not None:
        return None
    if Path("/proc/driver/nvidia/version").exists():
        # the kernel of the host has it, and the container does not see its libraries
        return Cause("the NVIDIA driver of this machine is not inside this container (no libcuda.so.1)",
                     "start it by docker run --gpus all, with the NVIDIA Container Toolkit")  # fmt: skip
    looked = " (no libcuda.so.1, no /proc/driver/nvidia)" if platform.system() == "Linux" else ""
    return Cause(f"this machine has no NVIDIA driver{looked}",
                 f"take {_others(row)}, or install the driver ({_DRIVERS})")  # fmt: skip


def _both(*causes: Cause) -> Cause:
    """All of them: the first is to be mended first."""
    return Cause(", and ".join(each.what for each in causes), "; then ".join(each.remedy for each in causes))


def _of_driver(driver: nvidia.Driver | None, device: int) -> Cause | None:
    """What a driver that is there cannot do."""
    built_for = libraries.cuda_version()
    if driver is None or built_for is None:
        return None
    if driver.cuda[0] < built_for[0]:  # drivers run all minor versions of the CUDA they were made for
        return _too_old(f"runs CUDA {_version(driver.cuda)} at most, and this onnxruntime was built for CUDA "
                        f"{_version(built_for)}")  # fmt: skip
    if driver.failure not in (0, 100):  # CUDA_ERROR_NO_DEVICE
        return Cause(f"the NVIDIA driver does not start (error {driver.failure})", "see what nvidia-smi says of it")
    if not driver.devices:
        return Cause("the NVIDIA driver finds no GPU",
                     "see what nvidia-smi lists, and whether CUDA_VISIBLE_DEVICES hides it")  # fmt: skip
    if device >= len(driver.devices):
        listed = ", ".join(f"{number} ({each.name})" for number, each in enumerate(driver.devices))
        return Cause(f"there is no GPU {device}", f"take one of: {listed}")
    return None


def _missing(library: str | None) -> Cause | None:
    if library is None:
        return None
    if re.match(r"(lib)?(cuda\.so|nvcuda)", library):
        return Cause("this machine has no NVIDIA driver (libcuda.so.1 cannot be loaded)", f"install it: {_DRIVERS}")
    if re.match(r"(lib)?nv(infer|onnxparser)", library):
        return Cause(f"the library {library} of TensorRT cannot be loaded", libraries.INSTALL_TENSORRT)
    return Cause(f"the CUDA library {library} cannot be loaded", f"{libraries.INSTALL_CUDA} brings it")


def _too_old(what: str) -> Cause:
    return Cause(
        f"the NVIDIA driver is too old: it {what}",
        f"install a newer one ({_DRIVERS}), or for CUDA 12: pip install 'onnxruntime-gpu[cuda,cudnn]<1.27'",
    )


def _version(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _others(row: Provider) -> str:
    """What runs on every machine, or on one where what was asked for exists elsewhere."""
    return "cpu or openvino" if row.memory == "cuda" else "cpu, openvino, or cuda with an NVIDIA GPU"


# The words of CUDA's runtime (cudaGetErrorString), cuBLAS, cuDNN and ONNX Runtime's arena, each inside a longer line
_KNOWN = (
    (r"driver version is insufficient|CUDA failure 35\b", _too_old("is older than the CUDA of this onnxruntime")),
    (r"no CUDA-capable device|CUDA failure 100\b",
     Cause("the NVIDIA driver finds no GPU", "see what nvidia-smi lists, and whether CUDA_VISIBLE_DEVICES hides it")),
    (r"invalid device ordinal|Invalid device ID|CUDA failure 101\b",
     Cause("there is no GPU of that number", "nvidia-smi -L lists those there are, counted from 0")),
    (r"out of memory|Failed to allocate memory|STATUS_ALLOC_FAILED|Available memory of .* is smaller than requested",
     Cause("the memory of the GPU does not suffice",
           "take a smaller max_batch, fewer streams, or a larger limit (--gpu-memory), and see with nvidia-smi who "
           "else is on it")),
    (r"no kernel image is available|CUDA failure 209\b",
     Cause("this onnxruntime has no kernels for that GPU: it is older or newer than the wheel",
           "take backend 'cpu', or a version of onnxruntime-gpu that knows it")),
    (r"stream is capturing|CUDA failure 90[0-9]\b",
     Cause("another part of this process used the GPU while a CUDA graph was recorded",
           "load and warm up the model before the others start, or turn CUDA graphs off")),
    (r"provide all the dynamic shape input.* with associated profiles",
     Cause("TensorRT takes only parts of this graph, and their inputs have no range of shapes",
           "take backend 'cuda', or another export of the model")),
    (r"Please install TensorRT libraries",
     Cause("the libraries of TensorRT cannot be loaded", libraries.INSTALL_TENSORRT)),
)  # fmt: skip
