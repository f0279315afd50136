"""From an fp32 file to one of its variants in place: other precision, gate, card, and only then the rename.

In: an fp32 ONNX file with our card. Out: NAME.fp16.onnx, NAME.int8.onnx or NAME.bf16.onnx of the same embedding space,
whose card says how it compares. TensorFlow is not needed: what a variant is judged by is the fp32 file.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from export.calibration import in_batches, open_session
from export.gate import Gate, Judge
from export.graph import check
from export.half import embed_rounded, to_half
from export.int8 import embed, to_int8
from export.labelled import Domain, open_domain
from export.parity import THREADS
from export.speed import relative_speed
from export.write import require_writable, with_card, write
from semblance.card import ModelCard, read_card
from semblance.errors import BackendError, InputError
from semblance.inference.backends import openvino
from semblance.inference.session import Session

Lower = Literal["fp16", "int8", "bf16"]
LOWER: tuple[Lower, ...] = ("fp16", "int8", "bf16")

_SPEED_BATCH = 32

Images = NDArray[np.uint8]
Figures = Mapping[str, float | int | str | bool]


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of a variant."""

    path: Path
    card: ModelCard
    gate: Gate
    is_written: bool
    num_bytes: int
    num_bytes_fp32: int
    times_faster: float  # than the fp32 file in ONNX Runtime here
    batch: int  # images at a time while timed
    runs_as: str  # what that was measured with


@dataclass(frozen=True, slots=True)
class _Variant:
    model: onnx.ModelProto
    gate: Gate
    details: Figures  # of how it was made
    run: Callable[[Images], object]
    runs_as: str


def export_variant(
    source: Path,
    out: Path,
    precision: Lower,
    *,
    images: str | None = None,
    num_gate: int | None = None,
    force: bool = False,
) -> Exported:
    """Write the `precision` form of the fp32 file `source` to `out`, if it passes the gate or by `force`.

    `images` and `num_gate` are those of `open_domain`. Raises what that raises; InputError for a source that is no fp32
    file, ExportError (cannot write there), ModelError (numbers this precision cannot hold), BackendError (it cannot run
    here, so it cannot be measured).
    """
    card = read_card(source)
    if card.precision != "fp32":
        raise InputError(f"{source} is {card.precision} already; give the fp32 file that it was made from")
    if out.resolve() == source.resolve():
        raise InputError(f"{out} is the fp32 file itself, which its variants are held against; give another place")
    if precision == "bf16":
        require_bf16()
    require_writable(out)
    domain = open_domain(card, images, num_gate=num_gate)
    model = onnx.load(source)
    reference = embed(model, domain.gate.images)  # [N, D]
    judge = Judge(reference, domain.gate.labels, metric=card.metric, images=domain.gate.described)
    with tempfile.TemporaryDirectory() as folder:
        variant = _MAKERS[precision](model, card, domain, judge, Path(folder))
        batch = domain.gate.images[:_SPEED_BATCH]
        times_faster = relative_speed(variant.run, _by_onnxruntime(model), batch)
    gate = variant.gate
    figures = {**gate.as_card(forced=force and not gate.passed), **variant.details}
    card = dataclasses.replace(card, precision=precision, parity=_inherited(card), gate=figures)
    made = with_card(variant.model, card)
    check(made)
    is_written = gate.passed or force
    if is_written:
        write(made, out)
    return Exported(
        path=out,
        card=card,
        gate=gate,
        is_written=is_written,
        num_bytes=made.ByteSize(),
        num_bytes_fp32=source.stat().st_size,
        times_faster=times_faster,
        batch=len(batch),
        runs_as=variant.runs_as,
    )


def require_bf16() -> None:
    """Raise BackendError where nothing here computes in bf16, RuntimeMissing without OpenVINO."""
    if not openvino.has_bf16():
        raise BackendError(
            "this processor does not compute in bf16, having neither avx512_bf16 nor amx_bf16, so that what a model "
            "loses by it cannot be measured here; export bf16 on one that does, or take fp16 or int8"
        )


# ------------------------------------------------------------------------------------------------------------------


def _inherited(card: ModelCard) -> Figures:
    """The parity of the fp32 file, which says of itself that it is not the variant's own."""
    return {**card.parity, "precision": "fp32"} if card.parity else {}


def _fp16(model: onnx.ModelProto, card: ModelCard, domain: Domain, judge: Judge, folder: Path) -> _Variant:
    half = to_half(model)
    embedded = embed_rounded(half, domain.gate.images)
    gate = judge.measure(embedded, backend=f"{_onnxruntime()}, each half rounded in float32")
    details = {"method": "layers and weights in halves; preprocessing, averages and norm in fp32"}
    return _Variant(half, gate, details, _by_onnxruntime(half), _onnxruntime())


def _int8(model: onnx.ModelProto, card: ModelCard, domain: Domain, judge: Judge, folder: Path) -> _Variant:
    def measured(quantized: onnx.ModelProto) -> Gate:
        return judge.measure(embed(quantized, domain.gate.images), backend=_onnxruntime())

    made = to_int8(model, domain.calibration.images, measured)
    details: Figures = {
        "method": f"QDQ, u8 x s8 per channel, ranges by {made.method}, biases corrected",
        "calibration_images": domain.calibration.described,
        "num_calibration_images": made.num_calibration_images,
        "num_layers": made.num_layers,
        "layers_in_float": ", ".join(made.in_float),
    }
    return _Variant(made.model, made.gate, details, _by_onnxruntime(made.model), _onnxruntime())


def _bf16(model: onnx.ModelProto, card: ModelCard, domain: Domain, judge: Judge, folder: Path) -> _Variant:
    """The same graph: that it is to be computed in bf16 is what its card says to the backend."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with_card(copy, dataclasses.replace(card, precision="bf16"))
    path = folder / "variant.onnx"
    onnx.save(copy, path)
    session = Session(path, backend=openvino.NAME, threads=THREADS, max_batch=_SPEED_BATCH)
    embedded = np.concatenate([session.run(batch) for batch in in_batches(domain.gate.images, _SPEED_BATCH)])
    gate = judge.measure(embedded, backend=session.description)
    details = {"method": "the fp32 graph, with a card that asks the backend for bf16"}
    return _Variant(copy, gate, details, session.run, session.description)


_MAKERS = {"fp16": _fp16, "int8": _int8, "bf16": _bf16}


def _by_onnxruntime(model: onnx.ModelProto) -> Callable[[Images], object]:
    session = open_session(model)
    return lambda batch: session.run(["embedding"], {"image": batch})


def _onnxruntime() -> str:
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}, CPUExecutionProvider"
