"""The rows of the originals that are asked for, one after another.

In: numbers of rows and how much is measured. Out: `retrieval`, `published`, `check` and `absent` records, each emitted
as soon as it is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.originals import (
    fine_tuned,
    five_nearest,
    linear_probe,
    row_autoencoder,
    row_resnet101,
    row_siamese,
    row_sift,
)
from bench.originals.asked import Asked, Emit, absent_record
from bench.originals.contenders import FP32, PRECISIONS
from bench.originals.published import of_row
from bench.originals.reproduced import left_out
from bench.records import Record
from semblance.card import Precision
from semblance.errors import InputError, SourceError


def _fine_tuned(asked: Asked, emit: Emit) -> None:
    fine_tuned.measure(quick=asked.quick, emit=emit, train=asked.train or None, threads=asked.threads)


def _five_nearest(asked: Asked, emit: Emit) -> None:
    five_nearest.measure(quick=asked.quick, emit=emit, threads=asked.threads)


def _linear_probe(asked: Asked, emit: Emit) -> None:
    linear_probe.measure(quick=asked.quick, emit=emit, threads=asked.threads)


MEASURES: dict[int, Callable[[Asked, Emit], None]] = {
    row_autoencoder.ROW: row_autoencoder.measure,
    row_siamese.ROW: row_siamese.measure,
    row_resnet101.ROW: row_resnet101.measure,
    row_sift.ROW: row_sift.measure,
    fine_tuned.ROW: _fine_tuned,
    five_nearest.ROW: _five_nearest,
    linear_probe.ROW: _linear_probe,
}
PACKAGES = ("tensorflow", "keras", "onnxruntime", "tf2onnx", "onnx", "usearch", "opencv-python-headless", "numpy")


def measure(
    rows: Sequence[int] | None = None,
    *,
    quick: bool,
    emit: Callable[[Record], None],
    train: bool = False,
    weights_resnet101: str | None = None,
    num_images: int | None = None,
    precisions: tuple[Precision, ...] = PRECISIONS,
    threads: int = 2,
) -> None:
    """Measure `rows` of the originals' table, None for all that are measured here; see `Asked` for the rest.

    A row whose data is not on this machine is absent, with all of its published figures. Raises InputError for a row
    that is not measured here, and what opening, exporting and training a model raise.
    """
    rows = tuple(MEASURES) if rows is None else rows
    if unknown := sorted(set(rows) - set(MEASURES)):
        raise InputError(f"rows are {', '.join(map(str, MEASURES))}; was also asked for {unknown}")
    asked = Asked(
        quick=quick, train=train, weights_resnet101=weights_resnet101, num_images=num_images, precisions=precisions,
        threads=threads,
    )  # fmt: skip
    for row in rows:
        try:
            MEASURES[row](asked, emit)
        except SourceError as error:
            emit(absent_record(row, f"row {row}", FP32, str(error)))
            for record in left_out(of_row(row), str(error)):
                emit(record)


def is_wrong(record: Record) -> bool:
    """Whether a record tells of an answer that is not what it has to be."""
    return record.get("is_right") is False or record.get("holds") is False
