"""One model from its weights to its records: prepared by TensorFlow, then compared, in a folder that goes away."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.originals.asked import Asked, Emit, absent_record
from bench.originals.comparing import Subject, compare
from bench.originals.contenders import Images, Model, Prepared, contenders_of
from semblance.card import Precision

Prepare = Callable[[Model, Images, Path], Prepared]


def side_by_side(
    model: Model,
    images: Images,
    subject_of: Callable[[Prepared], Subject],
    asked: Asked,
    emit: Emit,
    *,
    prepare: Prepare,
    precisions: tuple[Precision, ...],
) -> None:
    """Emit the records of a model by all its contenders on `images` [N, H, W, C], in these precisions.

    Raises what opening, exporting and embedding raise.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepared = prepare(model, images, folder)
        subject = subject_of(prepared)

        def absent(precision: Precision, reason: str) -> None:
            emit(absent_record(subject.row, f"{model.name}, {prepared.weights}", precision, reason))

        contenders = contenders_of(
            prepared, images, folder, precisions=precisions, threads=asked.threads, absent=absent,
        )  # fmt: skip
        compare(subject, contenders, emit)
