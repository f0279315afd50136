"""Whether a device gives the embeddings that ONNX Runtime's CPU gives in fp32, and its halves find the same images.

In: a model, images, a backend. Out: checks. The reference is computed in the same process from the same file, so that
what differs is the arithmetic alone. fp32 is held to the bounds of `export.parity`; fp16 to what it loses of precision
at 10, where the images have labels; TF32 is measured and told, since nobody gets it who did not ask for it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.gpu_check.checks import Check, failed
from bench.gpu_check.engine import open_engine
from bench.gpu_check.subjects import Pictures, Subject
from export.gate import MOST_LOST, Judge
from export.parity import LARGE, SMALL, Parity, Tolerance, compare
from semblance.errors import SemblanceError

_SMALL_NETWORK_BYTES = 4_000_000  # of a file in fp32: a million parameters, as export.parity draws the line
_NAME = "same embeddings as the CPU's fp32"

Vectors = NDArray[np.float32]


def reference(subject: Subject, images: NDArray[np.uint8]) -> Vectors:
    """[N, D] by the CPU in fp32."""
    return open_engine(subject.path, "cpu").run(images)


def tolerance_of(subject: Subject) -> Tolerance:
    """Strict on coordinates for small networks; on angles for all, and on neighbours for all that are trained."""
    if not subject.is_trained:  # all it gives lies close together: who is whose neighbour is a matter of rounding
        return dataclasses.replace(LARGE, overlap_at_10=0.0)
    return SMALL if subject.path.stat().st_size < _SMALL_NETWORK_BYTES else LARGE


def check_parity(subject: Subject, shown: Pictures, by_cpu: Vectors, *, backend: str) -> list[Check]:
    """fp32, TF32 on a device, and fp16 where there is a file, against `by_cpu` [N, D]."""
    checks = [_fp32(subject, shown, by_cpu, backend)]
    if backend == "cuda":
        checks.append(_tf32(subject, shown, by_cpu, backend))
    if subject.half is not None:
        checks.append(_fp16(subject, subject.half, shown, by_cpu, backend))
    return checks


def _fp32(subject: Subject, shown: Pictures, by_cpu: Vectors, backend: str) -> Check:
    try:
        parity = _measured(subject.path, subject, shown, by_cpu, backend, tf32=False)
        outside = _outside(parity, tolerance_of(subject))
    except SemblanceError as error:
        return failed(_NAME, subject.name, "fp32", error)
    said = f"{outside}; {_in_words(parity)}" if outside else _in_words(parity)
    return Check(
        name=_NAME, subject=subject.name, precision="fp32", passed=not outside, said=said, figures=parity.as_card()
    )


def _tf32(subject: Subject, shown: Pictures, by_cpu: Vectors, backend: str) -> Check:
    try:
        parity = _measured(subject.path, subject, shown, by_cpu, backend, tf32=True)
    except SemblanceError as error:
        return failed(_NAME, subject.name, "tf32", error)
    said = f"told, not judged: {_in_words(parity)}"
    return Check(name=_NAME, subject=subject.name, precision="tf32", passed=None, said=said, figures=parity.as_card())


def _fp16(subject: Subject, half: Path, shown: Pictures, by_cpu: Vectors, backend: str) -> Check:
    name = "halves find what fp32 finds"
    try:
        vectors = open_engine(half, backend).run(shown.images)
        if shown.labels is None or not subject.is_trained:
            parity = compare(vectors, by_cpu, metric=subject.card.metric, described=shown.described)
            said = f"told, not judged without labels and training: {_in_words(parity)}"
            return Check(name=name, subject=subject.name, precision="fp16", passed=None, said=said,
                         figures=parity.as_card())  # fmt: skip
        judge = Judge(by_cpu, shown.labels, metric=subject.card.metric, images=shown.described)
        gate = judge.measure(vectors, backend=backend)
    except SemblanceError as error:
        return failed(name, subject.name, "fp16", error)
    said = (
        f"precision at 10 {gate.p_at_10_fp32:.4f} -> {gate.p_at_10:.4f}, lost {gate.lost_p_at_10:.4f} (at most "
        f"{MOST_LOST}), cosine at least {gate.min_cosine:.6f}, overlap at 10 {gate.overlap_at_10:.4f}; {gate.images}"
    )
    figures = gate.as_card(forced=False)
    return Check(name=name, subject=subject.name, precision="fp16", passed=gate.passed, said=said, figures=figures)


def _measured(path: Path, subject: Subject, shown: Pictures, by_cpu: Vectors, backend: str, *, tf32: bool) -> Parity:
    vectors = open_engine(path, backend, tf32=tf32).run(shown.images)
    return compare(vectors, by_cpu, metric=subject.card.metric, described=shown.described)


def _outside(parity: Parity, tolerance: Tolerance) -> str:
    """Which figures are outside the tolerance, in words; "" where none is."""
    at_most = ("max_unit_error", "max_relative_error")
    found = []
    for name, limit in dataclasses.asdict(tolerance).items():
        value = getattr(parity, name)
        if limit is not None and not (value <= limit if name in at_most else value >= limit):
            found.append(f"{name} {value:.7g} (at {'most' if name in at_most else 'least'} {limit:g})")
    return "; ".join(found)


def _in_words(parity: Parity) -> str:
    return (
        f"unit vectors differ by at most {parity.max_unit_error:.2g}, cosine at least {parity.min_cosine:.7f}, overlap "
        f"at 10 {parity.overlap_at_10:.4f}, on {parity.num_images:,} images ({parity.images})"
    )
