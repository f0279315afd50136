"""ONNX Runtime's execution providers: each is one row of a table.

In: what a session is loaded with. Out: the provider's name, the options that it takes, and what else is particular to
it. A processor that ONNX Runtime knows is added by a row here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from semblance.card import Precision
from semblance.home import home
from semblance.inference.backends import cuda, libraries, tensorrt
from semblance.inference.backends.options import LoadOptions

Options = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Provider:
    """One execution provider, as users name it and as ONNX Runtime does."""

    name: str
    provider: str
    install: str  # the command that brings it
    options: Callable[[LoadOptions], Options]
    threads: Literal["all", "one"]  # the default for its host's pool: a device leaves it nothing to do
    precision: Precision  # the narrowest that it gains by: what to export for it
    precisions: tuple[Precision, ...]  # those it computes in; others would run elsewhere, or as fp32
    systems: tuple[str, ...] = ("Linux", "Windows", "Darwin")  # as platform.system() has them
    memory: Literal["host", "cuda"] = "host"  # where its inputs and outputs are bound, as ONNX Runtime names it
    on_host: frozenset[str] = frozenset()  # operators that it has to leave to the CPU
    compiles: bool = False  # it fuses for itself, and wants the graph as it was exported
    folders: tuple[str, ...] = ()  # which of its options are folders that have to be there

    @property
    def is_cpu(self) -> bool:
        """Whether it is the one provider to which all others would fall back."""
        return self.name == "cpu"


def _none(load: LoadOptions) -> Options:
    return {}


def _directml(load: LoadOptions) -> Options:
    return {"device_id": str(load.device)}


def _coreml(load: LoadOptions) -> Options:
    return {
        # the older format computes in fp16 on GPU and Neural Engine whatever the graph says; this one keeps its types
        "ModelFormat": "MLProgram",
        "MLComputeUnits": "ALL",  # CoreML itself chooses among CPU, GPU and Neural Engine
        "RequireStaticInputShapes": "0",  # the batch axis is not
        # compiled once, else at each start; it knows a graph by its structure, so each has a folder of its own
        "ModelCacheDirectory": str(home() / "engines" / f"coreml-{load.identity}"),
    }


def _migraphx(load: LoadOptions) -> Options:
    return {
        "device_id": str(load.device),
        # a graph is compiled for each batch size when it is first met, for minutes
        "migraphx_model_cache_dir": str(home() / "engines" / f"migraphx-{load.identity}"),
    }


# int8: quantised convolutions have no kernels in the CUDA provider, their nodes would go to the CPU (onnxruntime
# #15260, #24807). bf16: those exports are fp32 graphs, to be computed in bf16 by whoever is told so, as TensorRT is.
PROVIDERS: dict[str, Provider] = {
    row.name: row
    for row in (
        Provider("cpu", "CPUExecutionProvider", "pip install 'semblance[cpu]'", _none, "all", "int8",
                 ("fp32", "fp16", "int8")),
        Provider("cuda", "CUDAExecutionProvider", libraries.INSTALL_CUDA, cuda.options, "one", "fp16",
                 ("fp32", "fp16"), systems=("Linux", "Windows"), memory="cuda"),
        Provider("tensorrt", "TensorrtExecutionProvider",
                 f"{libraries.INSTALL_CUDA} && {libraries.INSTALL_TENSORRT}", tensorrt.options, "one", "fp16",
                 ("fp32", "fp16", "bf16", "int8"), systems=("Linux", "Windows"), memory="cuda", compiles=True,
                 folders=("trt_engine_cache_path", "trt_timing_cache_path")),
        Provider("directml", "DmlExecutionProvider", "pip install onnxruntime-directml", _directml, "one", "fp16",
                 ("fp32", "fp16"), systems=("Windows",)),
        Provider("coreml", "CoreMLExecutionProvider", "pip install 'semblance[cpu]'", _coreml, "one", "fp16",
                 ("fp32", "fp16"), systems=("Darwin",), compiles=True, folders=("ModelCacheDirectory",),
                 # CoreML has no inputs of 8 bits
                 on_host=frozenset({"Cast"})),
        Provider("migraphx", "MIGraphXExecutionProvider", "pip install onnxruntime-migraphx", _migraphx, "one",
                 "fp16", ("fp32", "fp16"), systems=("Linux",), compiles=True,
                 folders=("migraphx_model_cache_dir",)),
    )
}  # fmt: skip
