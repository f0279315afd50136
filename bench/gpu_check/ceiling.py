"""The fastest matrix product that ONNX Runtime gets out of the device: what a network's rate is set against.

In: a size, a backend. Out: TFLOP/s by precision. One large square product, both operands and the result on the device,
is as close to the peak as arithmetic gets; a network that reaches a share of it spends the rest on memory and starts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from bench.gpu_check.running import THREADS, Prepared, open_session
from bench.gpu_check.setting import Precision, Setting
from bench.gpu_check.speed import figures_of, in_turns
from semblance.inference.backends.wheels import onnxruntime

SIZE = 8192  # 3 x 256 MiB in fp32

_TYPES = {"fp32": (TensorProto.FLOAT, np.float32), "tf32": (TensorProto.FLOAT, np.float32),
          "fp16": (TensorProto.FLOAT16, np.float16)}  # fmt: skip


def matmul_graph(size: int, precision: Precision) -> onnx.ModelProto:
    """`product` [size, size] = `a` @ `b`, all of one type."""
    kind = _TYPES[precision][0]
    a, b, product = (helper.make_tensor_value_info(name, kind, [size, size]) for name in ("a", "b", "product"))
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["product"])], "ceiling", [a, b], [product])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def measure_ceiling(backend: str, *, seconds: float, size: int = SIZE) -> list[dict[str, Any]]:
    """A row for each precision; one that fails, as memory may, says why."""
    precisions: tuple[Precision, ...] = ("fp32", "tf32", "fp16") if backend == "cuda" else ("fp32",)
    return [_row(precision, backend, size, seconds / len(precisions)) for precision in precisions]


def _row(precision: Precision, backend: str, size: int, seconds: float) -> dict[str, Any]:
    row: dict[str, Any] = {"precision": precision, "size": size, "copies": "outside", "threads": THREADS,
                           "runtime": f"onnxruntime {onnxruntime().__version__}"}  # fmt: skip
    try:
        run = _prepared(precision, backend, size).without_copies
    except Exception as error:  # ONNX Runtime's have no base of their own
        return row | {"failed": " ".join(str(error).split())[:300]}
    assert run is not None  # bound
    figures = figures_of(in_turns({"run": run}, seconds=seconds)["run"], 1)
    del figures["images_per_sec"]
    return row | figures | {"tflop_per_sec": 2 * size**3 / figures["p50_ms"] / 1e9}


def _prepared(precision: Precision, backend: str, size: int) -> Prepared:
    rng = np.random.default_rng(0)
    given = {name: rng.standard_normal((size, size), np.float32).astype(_TYPES[precision][1]) for name in ("a", "b")}
    setting = Setting(precision=precision)
    session = open_session(matmul_graph(size, precision).SerializeToString(), setting, backend)
    return Prepared(session, setting, given, "product", backend)
