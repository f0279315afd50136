"""Why a device cannot be used: each error says what was asked for, what is wrong, and the command that mends it."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from semblance.errors import BackendError
from semblance.inference import backends
from semblance.inference.backends import GpuOptions, LoadOptions, causes, libraries, nvidia, ort
from semblance.inference.backends.nvidia import Device, Driver
from semblance.inference.backends.providers import PROVIDERS

LOAD = LoadOptions(threads=1, shape=(8, 8, 1))
CUDA = PROVIDERS["cuda"]
H100 = Device("NVIDIA H100 80GB HBM3", (9, 0), 80 << 30)


# ----------------------------------------------------------------------------------------------------------------------
# What a user reads on a machine without any such device, with the plain wheel of ONNX Runtime


@pytest.fixture
def _plain_machine() -> None:
    import onnxruntime

    has = onnxruntime.get_available_providers()
    if platform.system() != "Linux" or any(row.provider in has for row in PROVIDERS.values() if not row.is_cpu):
        pytest.skip("these are the words for Linux and a wheel without providers of devices")
    if nvidia.driver() is not None or Path("/opt/rocm").is_dir() or Path("/proc/driver/nvidia").is_dir():
        pytest.skip("these are the words for a machine without a GPU")


WHEEL = "the installed onnxruntime {version} has no {provider} (it has {has})"
READ = {
    "cuda": "backend 'cuda' cannot run here: this machine has no NVIDIA driver (no libcuda.so.1, no "
    f"/proc/driver/nvidia), and {WHEEL}; take cpu or openvino, or install the driver (https://www.nvidia.com/drivers); "
    "then pip uninstall -y onnxruntime && pip install 'semblance[gpu]'",
    "tensorrt": "backend 'tensorrt' cannot run here: this machine has no NVIDIA driver (no libcuda.so.1, no "
    f"/proc/driver/nvidia), and {WHEEL}; take cpu or openvino, or install the driver (https://www.nvidia.com/drivers); "
    "then pip uninstall -y onnxruntime && pip install 'semblance[gpu]' && pip install 'tensorrt-cu13-libs>=10,<11'",
    "directml": "backend 'directml' cannot run here: DmlExecutionProvider exists for Windows only, and this is "
    "Linux; take cpu, openvino, or cuda with an NVIDIA GPU",
    "coreml": "backend 'coreml' cannot run here: CoreMLExecutionProvider exists for macOS only, and this is Linux; "
    "take cpu, openvino, or cuda with an NVIDIA GPU",
    "migraphx": "backend 'migraphx' cannot run here: this machine has no ROCm, which drives AMD GPUs (no /opt/rocm), "
    f"and {WHEEL}; install ROCm with MIGraphX (https://rocm.docs.amd.com); then pip uninstall -y onnxruntime && "
    "pip install onnxruntime-migraphx",
}


@pytest.mark.usefixtures("_plain_machine")
@pytest.mark.parametrize("backend", READ)
def test_what_is_read_where_there_is_no_such_device(
    tiny_model: Any, backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    import onnxruntime

    with pytest.raises(BackendError) as raised:
        backends.load(tiny_model.path, backend, LOAD)
    has = ", ".join(onnxruntime.get_available_providers())
    assert str(raised.value) == READ[backend].format(
        version=onnxruntime.__version__, provider=PROVIDERS[backend].provider, has=has
    )
    assert capfd.readouterr() == ("", "")  # one error, and no chatter of a runtime beside it


def test_every_row_of_a_device_is_read_here() -> None:
    assert set(READ) == set(PROVIDERS) - {"cpu"}


@pytest.mark.parametrize("backend", READ)
def test_whatever_is_installed_a_device_runs_or_is_an_error_with_a_remedy(tiny_model: Any, backend: str) -> None:
    try:
        found = backends.load(tiny_model.path, backend, LOAD).runner.run(tiny_model_images())
    except BackendError as error:
        asked, _, rest = str(error).partition(" cannot run here: ")
        assert asked == f"backend '{backend}'"
        assert "; " in rest
    else:
        assert found.shape == (1, 16)


def tiny_model_images() -> Any:
    import numpy as np

    return np.zeros((1, 8, 8, 1), np.uint8)


def test_auto_goes_on_where_no_device_is(tiny_model: Any) -> None:
    if nvidia.driver() is not None:
        pytest.skip("here is one")
    assert backends.load(tiny_model.path, "auto", LOAD).backend in ("cpu", "openvino", "coreml", "directml", "migraphx")


# ----------------------------------------------------------------------------------------------------------------------
# What a driver can and cannot do


@pytest.mark.parametrize(
    ("driver", "device", "what"),
    [
        (
            Driver((12, 4), (H100,)),
            0,
            "too old: it runs CUDA 12.4 at most, and this onnxruntime was built for CUDA 13.0",
        ),
        (Driver((13, 0), failure=100), 0, "finds no GPU"),
        (Driver((13, 0)), 0, "finds no GPU"),
        (Driver((13, 0), failure=803), 0, "does not start (error 803)"),
        (Driver((13, 0), (H100,)), 1, "there is no GPU 1"),
    ],
)
def test_a_driver_that_does_not_do(driver: Driver, device: int, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "cuda_version", lambda: (13, 0))
    cause = causes._of_driver(driver, device)
    assert cause is not None
    assert what in cause.what
    assert cause.remedy


@pytest.mark.parametrize("driver", [Driver((13, 2), (H100,)), Driver((14, 0), (H100, H100)), None])
def test_a_driver_that_does(driver: Driver | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "cuda_version", lambda: (13, 2))
    assert causes._of_driver(driver, 0) is None


def test_the_gpus_there_are_are_named_where_another_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "cuda_version", lambda: (13, 0))
    cause = causes._of_driver(Driver((13, 0), (H100,)), 7)
    assert cause is not None
    assert str(cause.error(CUDA)) == (
        "backend 'cuda' cannot run here: there is no GPU 7; take one of: 0 (NVIDIA H100 80GB HBM3)"
    )


def test_what_the_driver_here_says_of_itself_is_sound() -> None:
    driver = nvidia.driver()
    if driver is None:
        assert nvidia.device(0) is None
        return
    assert driver.cuda >= (11, 0)
    for device in driver.devices:
        assert device.name
        assert device.capability >= (5, 0)
        assert device.memory_bytes > 1 << 28


# ----------------------------------------------------------------------------------------------------------------------
# What ONNX Runtime says. The first five are lines of onnxruntime-gpu 1.31.1, the others of its issue tracker

CUDA_CALL = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:122 std::conditional_t<THRW, void, "
    "onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, const char*, SUCCTYPE, const char*, "
    "const char*, int) [with ERRTYPE = cudaError; bool THRW = true] "
)
SAID = [
    (
        "Failed to load library /x/onnxruntime/capi/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: "
        "cannot open shared object file: No such file or directory",
        "the CUDA library libcublasLt.so.13 cannot be loaded",
        "pip install 'semblance[gpu]'",
    ),
    (
        "Failed to load library /x/libonnxruntime_providers_cuda.so with error: libcuda.so.1: cannot open shared "
        "object file: No such file or directory",
        "no NVIDIA driver",
        "https://www.nvidia.com/drivers",
    ),
    (
        "Failed to load library /x/libonnxruntime_providers_tensorrt.so with error: libnvinfer.so.10: cannot open "
        "shared object file: No such file or directory",
        "libnvinfer.so.10 of TensorRT",
        "pip install 'tensorrt-cu13-libs>=10,<11'",
    ),
    (
        "void onnxruntime::python::RegisterTensorRTPluginsAsCustomOps(PySessionOptions&, const "
        "onnxruntime::ProviderOptions&) Please install TensorRT libraries as mentioned in the GPU requirements page, "
        "make sure they're in the PATH or LD_LIBRARY_PATH, and that your GPU is supported.",
        "the libraries of TensorRT cannot be loaded",
        "tensorrt-cu13-libs",
    ),
    (
        CUDA_CALL + "CUDA failure 36: API call is not supported in the installed CUDA driver ; GPU=-1 ; hostname=vm ; "
        "file=/onnxruntime_src/cuda_execution_provider.cc ; line=355 ; expr=cudaSetDevice(info_.device_id); ",
        "CUDA says: API call is not supported in the installed CUDA driver (error 36)",
        "nvidia-smi",
    ),
    (
        CUDA_CALL + "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=-1 ; "
        "hostname=c ; expr=cudaSetDevice(info_.device_id); ",
        "driver is too old",
        "onnxruntime-gpu[cuda,cudnn]<1.27",
    ),
    (
        CUDA_CALL + "CUDA failure 100: no CUDA-capable device is detected ; GPU=0 ; hostname=c ; expr=cudaSetDevice();",
        "finds no GPU",
        "CUDA_VISIBLE_DEVICES",
    ),
    (
        CUDA_CALL + "CUDA failure 101: invalid device ordinal ; GPU=0 ; hostname=c ; expr=cudaSetDevice(); ",
        "no GPU of that number",
        "nvidia-smi -L",
    ),
    (
        'Failed to parse provider option "device_id": Invalid device ID: 7, must be between 0 (inclusive) and 1 '
        "(exclusive).",
        "no GPU of that number",
        "nvidia-smi -L",
    ),
    (
        "Non-zero status code returned while running Conv node. Name:'conv1' Status Message: "
        "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* "
        "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of "
        "size 4294967296",
        "memory of the GPU does not suffice",
        "--gpu-memory",
    ),
    (
        "BFCArena::AllocateRawInternal Available memory of 1048576 is smaller than requested bytes of 9437184",
        "memory of the GPU does not suffice",
        "smaller max_batch",
    ),
    (CUDA_CALL + "CUDA failure 2: out of memory ; GPU=0 ; hostname=c ; expr=cudaMalloc(", "does not suffice", "batch"),
    (
        CUDA_CALL + "CUDA failure 209: no kernel image is available for execution on the device ; GPU=0 ; hostname=c ;",
        "no kernels for that GPU",
        "onnxruntime-gpu",
    ),
    (
        CUDA_CALL + "CUDA failure 900: operation not permitted when stream is capturing ; GPU=0 ; hostname=c ;",
        "while a CUDA graph was recorded",
        "CUDA graphs off",
    ),
]


@pytest.mark.parametrize(("text", "what", "remedy"), SAID)
def test_words_of_the_runtime_are_understood(text: str, what: str, remedy: str) -> None:
    cause = causes.of_text(text)
    assert cause is not None
    assert what in cause.what
    assert remedy in cause.remedy


@pytest.mark.parametrize(
    "text", ["", "Got invalid dimensions for input: image", "no such thing: 35", "100 CUDA failures"]
)
def test_other_words_are_left_as_they_are(text: str) -> None:
    assert causes.of_text(text) is None


def test_memory_that_a_cpu_has_not_is_not_said_to_be_a_gpus() -> None:
    error = RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 7")
    assert "GPU" not in str(ort.run_error(PROVIDERS["cpu"], "here", 2, error))
    assert "GPU" in str(ort.run_error(CUDA, "there", 2, error))


def test_a_provider_that_onnx_runtime_leaves_out_is_an_error(tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    if CUDA.provider not in onnxruntime.get_available_providers() or libraries.load("cuda") is None:
        pytest.skip("it leaves one out where the wheel has CUDA, and the machine lacks a library for it")
    monkeypatch.setattr(causes, "before", lambda row, device: None)  # which would have found that
    for graphs in (True, False):
        load = replace(LOAD, gpu=GpuOptions(cuda_graphs=graphs))
        with pytest.raises(BackendError, match="could not start CUDAExecutionProvider, and would have gone on"):
            ort.open_session(tiny_model.path, CUDA, load)


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_no_library_is_missing_or_it_has_a_name(name: str) -> None:
    missing = libraries.load(name)
    if libraries.cuda_version() is None:
        assert missing is None  # a build without CUDA wants none
    elif missing is not None:
        cause = causes._missing(missing)
        assert cause is not None
        assert missing in cause.what or "driver" in cause.what
