"""Row 3, ResNet101's unpooled features of garments: the first 5,000 train images, each a query, as published.

In: ImageNet weights, from Keras or a file, or random ones, which tell only whether the engine answers as TensorFlow
does. Out: records over all images, or over the first few. 5,000 vectors of 100,352 values are 2 GB: TensorFlow's lie in
a file, and those of one contender at a time in memory.
"""

from __future__ import annotations

from bench.originals.asked import Asked, Emit, leave_out
from bench.originals.comparing import EXACT, Protocol, Subject
from bench.originals.contenders import FP32, Model, Prepared, originals
from bench.originals.published import of_row
from bench.originals.reproduced import beside, figure
from bench.originals.side_by_side import side_by_side
from bench.records import Record
from semblance.inputs.datasets import CLASSES, fashion_mnist

ROW = 3
NUM_IMAGES = 5000
_PUBLISHED = "resnet101-published"
_WHY_NOT = "it needs weights: python -m bench.originals --rows 3 --weights-resnet101 imagenet, or a file"


def measure(asked: Asked, emit: Emit) -> None:
    """Emit row 3, or that it was left out."""
    if asked.weights_resnet101 is None:
        leave_out(emit, ROW, _PUBLISHED, _WHY_NOT)
        return
    measure_model(Model(_PUBLISHED, asked.weights_resnet101), asked, emit)


def measure_model(model: Model, asked: Asked, emit: Emit) -> None:
    """Emit an original of 28x28 images in row 3's protocol."""
    num_images = min(asked.num_images or NUM_IMAGES, NUM_IMAGES)
    images, labels = (each[:num_images] for each in fashion_mnist("train"))
    protocol = Protocol.leave_one_out(f"Fashion-MNIST, the first {num_images:,} train images", num_images)

    def subject_of(prepared: Prepared) -> Subject:
        return Subject(
            row=ROW,
            original=prepared.name,
            weights=prepared.weights,
            labels=labels,
            protocols=(protocol,),
            metrics=(prepared.metric,),  # vectors of unit length: by L2 they rank the same
            searches=asked.searches,
            ranked_whole=asked.ranked_whole,
            classes=CLASSES,
            threads=asked.threads,
        )

    def emit_both(record: Record) -> None:
        emit(record)
        if _is_published(record):
            for each in beside(of_row(ROW), lambda name: figure(record, name), note=_why_not_equal(record)):
                emit(each)

    with originals(asked.threads) as prepare:
        side_by_side(
            model, images[..., None], subject_of, asked, emit_both, prepare=prepare, precisions=asked.precisions
        )


def _is_published(record: Record) -> bool:
    wanted = {"original": _PUBLISHED, "runtime": "onnx", "precision": FP32, "search": EXACT}
    return record["kind"] == "retrieval" and all(record[name] == value for name, value in wanted.items())


def _why_not_equal(record: Record) -> str:
    """Of a figure that differs."""
    reasons = []
    if not record["weights"].startswith("imagenet"):
        reasons.append(f"other weights ({record['weights']}) than ImageNet's from Keras")
    if record["num_gallery"] != NUM_IMAGES:
        reasons.append(f"{record['num_gallery']:,} images of {NUM_IMAGES:,}")
    return "; ".join(reasons) or "the published weights and protocol; F1 is the mean over queries"
