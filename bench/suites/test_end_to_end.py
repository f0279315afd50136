"""The whole way from picture files on a disk to embeddings: reading, decoding, resizing and the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.answers import mean_cosine
from bench.overlap import unpack_photographs
from bench.racing import Entry, Judge, Planned, Workload
from bench.subjects import Subject, subject
from bench.suites.plan import Plan

_BATCH = 32
_LEAST = 0.99  # mean cosine to TensorFlow's way, whose decoder and resizing differ a little
_LEAST_INT8 = 0.97
_BACKENDS: dict[str, tuple[str, ...]] = {"cpu": ("fp32", "int8"), "openvino": ("fp32", "bf16", "int8")}
_IN_QUICK: dict[str, tuple[str, ...]] = {
    "cpu": ("fp32", "int8"),
    "openvino": ("bf16", "int8"),
}  # what either is chosen for
_ORIGINAL = "tensorflow fp32"


@dataclass(frozen=True, slots=True)
class Data:
    """Picture files for a model."""

    model: str
    kind: str
    quick_count: int  # four times as many where there is time
    write: Callable[[Path, int], list[Path]]  # a folder and how many -> their paths

    def files(self, count: int) -> str:
        """The name of a workload."""
        return f"{count:,} {self.kind} file" + ("s" if count > 1 else "")


def write_fashion(folder: Path, count: int) -> list[Path]:
    """Fashion-MNIST's test images as PNG files."""
    import cv2

    from semblance.inputs.datasets import fashion_mnist

    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(fashion_mnist("test")[0][:count]):
        (folder / f"{number:06d}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return sorted(folder.glob("*.png"))


DATA = (
    Data("mobilenet", "JPEG", 64, unpack_photographs),
    Data("siamese", "PNG", 256, write_fashion),
)


def planned(plan: Plan) -> list[Planned]:
    """A race for each model."""
    return [_planned(data, plan) for data in DATA]


def _planned(data: Data, plan: Plan) -> Planned:
    count, model = data.quick_count * (4 if plan.is_full else 1), subject(data.model)
    return Planned(
        suite="end_to_end",
        name=f"end_to_end/{data.model}",
        subject=model.name,
        entries=[*_originals(model, plan), *_engines(model, plan), _pillow(model, plan), *_ceilings(model, plan)],
        workloads=[data.files(count)],
        load=partial(_load, data, plan.folder / data.model, count),
        budget_s=20.0 if plan.is_full else 6.0,
    )


def _backends(plan: Plan) -> dict[str, tuple[str, ...]]:
    return _BACKENDS if plan.is_full else _IN_QUICK


def _originals(model: Subject, plan: Plan) -> list[Entry]:
    options = {"original": model.name, "original_options": dict(model.original_options), "weights": model.weights}
    return [
        Entry(
            kind="files", contender=name, precision="fp32", threads=plan.threads, is_decode_inside=True, least=_LEAST,
            options=options | {"batch": _BATCH},
        )
        for name in ("tensorflow", "keras_predict")
        if plan.is_full or name == "tensorflow"  # the faster one
    ]  # fmt: skip


def _engines(model: Subject, plan: Plan) -> list[Entry]:
    return [
        Entry(
            kind="files", contender=f"semblance_{backend}", backend=backend, precision=precision, threads=plan.threads,
            is_decode_inside=True, least=_LEAST_INT8 if precision == "int8" else _LEAST,
            options=_options(model, precision),
        )
        for backend, precisions in _backends(plan).items()
        for precision in precisions
    ]  # fmt: skip


def _pillow(model: Subject, plan: Plan) -> Entry:
    return Entry(
        kind="files", contender="pillow_ort", precision="fp32", threads=plan.threads, is_decode_inside=True,
        least=_LEAST, options=_options(model, "fp32"),
    )  # fmt: skip


def _ceilings(model: Subject, plan: Plan) -> list[Entry]:
    """Each stage by itself, inference for each way of the engine's."""
    decoding = Entry(
        kind="files", contender="decode_alone", threads=plan.threads, is_decode_inside=True,
        options=_options(model, "fp32"),
    )  # fmt: skip
    inference = [
        Entry(
            kind="files", contender="inference_alone", backend=backend, precision=precision, threads=plan.threads,
            options=_options(model, precision) | {"backend": backend}, mark=backend,
        )
        for backend, precisions in _backends(plan).items()
        for precision in precisions
    ]  # fmt: skip
    return [decoding, *inference]


def _options(model: Subject, precision: str) -> dict[str, Any]:
    return {"file": str(model.path(precision)), "batch": _BATCH}


def _load(data: Data, folder: Path, count: int) -> tuple[list[Workload], Judge]:
    subject(data.model).require()
    paths = data.write(folder, count)
    facts = {"files": len(paths), "bytes": sum(path.stat().st_size for path in paths), "kind": data.kind}
    workload = Workload(name=data.files(count), given=[str(path) for path in paths], items=len(paths), facts=facts)
    return [workload], Judge("mean cosine", _ORIGINAL, mean_cosine)


def test_end_to_end(raced: Any, benchmark: Any) -> None:
    """Shows the times of one contender."""
    raced.show(benchmark)
