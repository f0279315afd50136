"""Row 1, the convolutional autoencoder: three seeded queries as published, which must come out exactly, and all images.

In: the published model file, cut where its experiment cut it (`autoencoder-published`) and at the bottleneck
(`autoencoder`), and the `autoencoder` that is shipped. Out: records of each by every contender, over the 10,000 test
images of Fashion-MNIST, and of the images' own pixels, which any encoder ought to beat.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.originals.asked import Asked, Emit, leave_out, published_autoencoder
from bench.originals.comparing import Protocol, Subject, baseline
from bench.originals.contenders import Model, Prepared, originals
from bench.originals.published import of_row
from bench.originals.reproduced import beside, figure, is_engines
from bench.originals.side_by_side import side_by_side
from bench.records import Record
from semblance.errors import SourceError
from semblance.inference.models import zoo_folder
from semblance.inputs.datasets import CLASSES, fashion_mnist

ROW = 1
_PUBLISHED = "autoencoder-published"
_THREE = "three queries"
_DATA = "Fashion-MNIST, the 10,000 test images"


def three_queries(num_images: int) -> NDArray[np.int64]:
    """The rows that the published experiment drew."""
    np.random.seed(1)  # noqa: NPY002  # the experiment's generator: another one draws other queries
    return np.random.choice(num_images, 3, replace=False).astype(np.int64)  # noqa: NPY002


def measure(asked: Asked, emit: Emit) -> None:
    """Emit row 1."""
    images, labels = fashion_mnist("test")
    models = [Model("autoencoder", file=zoo_folder() / "autoencoder.onnx")]
    try:
        file = published_autoencoder()
        models[:0] = [Model(_PUBLISHED, file), *([] if asked.quick else [Model("autoencoder", file)])]
    except SourceError as error:
        leave_out(emit, ROW, _PUBLISHED, str(error))

    def emit_both(record: Record) -> None:
        emit(record)
        if is_engines(record, _PUBLISHED, _THREE):
            note = "the published file and protocol, so that it ought to be the same"
            for each in beside(of_row(ROW), lambda name: figure(record, name), note=note):
                emit(each)

    with originals(asked.threads) as prepare:
        for model in models:
            precisions = asked.precisions_of(is_main=model.name == _PUBLISHED)

            def subject_of(prepared: Prepared) -> Subject:
                return _subject(labels, asked, original=prepared.name, weights=prepared.weights)

            side_by_side(model, images[..., None], subject_of, asked, emit_both, prepare=prepare, precisions=precisions)
    pixels = images.reshape(len(images), -1).astype(np.float32)  # [N, 784]
    baseline(_subject(labels, asked, original="raw pixels", weights="none"), pixels, emit)


def _subject(labels: NDArray[np.uint8], asked: Asked, **named: Any) -> Subject:
    return Subject(
        row=ROW,
        labels=labels,
        protocols=(
            Protocol(_THREE, _DATA, len(labels), three_queries(len(labels))),
            Protocol.leave_one_out(_DATA, len(labels)),
        ),
        metrics=("l2sq",) if asked.quick else ("l2sq", "cos"),
        searches=asked.searches,
        ranked_whole=asked.ranked_whole,
        classes=CLASSES,
        threads=asked.threads,
        **named,
    )
